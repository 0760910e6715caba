//! The lattice laws: order, join, meet, widening.
#![forbid(unsafe_code)]

use super::super::{Circular, Scalar, ScalarOf, Tnum};
use super::{Numbers, all_ranges, all_tnums, members, some_scalars};

#[test]
fn known_bits_find_their_nearest_members() {
    for t in all_tnums::<5>() {
        for bound in 0..32 {
            assert_eq!(t.at_least(bound), (bound..32).find(|n| t.contains(*n)), "{t:?} {bound}");
            assert_eq!(t.at_most(bound), (0..=bound).rev().find(|n| t.contains(*n)), "{t:?} {bound}");
        }
    }
}

#[test]
fn known_bits_are_a_lattice() {
    let all: Vec<_> = all_tnums::<4>().into_iter().map(|t| (t, members::<4>(|n| t.contains(n)))).collect();
    for (a, xs) in &all {
        for (b, ys) in &all {
            assert_eq!(a.is_subset_of(*b), xs & !ys == 0, "{a:?} {b:?}");
            let both = a.meet(*b).map_or(0, |t| members::<4>(|n| t.contains(n)));
            assert_eq!(both, xs & ys, "{a:?} {b:?}");
            let join = a.join(*b);
            let least =
                all.iter().filter(|(_, zs)| (xs | ys) & !zs == 0).min_by_key(|(_, zs)| zs.count_ones());
            assert_eq!(Some(join), least.map(|(t, _)| *t), "{a:?} {b:?}");
            assert!(join.is_subset_of(a.widen(*b)), "{a:?} {b:?}");
        }
    }
    for lo in 0..16 {
        for hi in lo..16 {
            let best = (lo..=hi).map(Tnum::<4>::known).reduce(Tnum::join);
            assert_eq!(Some(Tnum::from_range(lo, hi)), best);
        }
    }
}

#[test]
fn ranges_are_a_lattice() {
    let all: Vec<_> = all_ranges::<3>().into_iter().map(|r| (r, members::<3>(|n| r.contains(n)))).collect();
    for (a, xs) in &all {
        for (b, ys) in &all {
            assert_eq!(a.is_subset_of(*b), xs & !ys == 0, "{a:?} {b:?}");
            let both = a.meet(*b).map_or(0, |r| members::<3>(|n| r.contains(n)));
            assert_eq!(both, xs & ys, "{a:?} {b:?}");
            let join = a.join(*b);
            let least =
                all.iter().filter(|(_, zs)| (xs | ys) & !zs == 0).min_by_key(|(_, zs)| zs.count_ones());
            assert_eq!(Some(join), least.map(|(r, _)| *r), "{a:?} {b:?}");
            assert!(join.is_subset_of(a.widen(*b, &[2, 6])), "{a:?} {b:?}");
        }
    }
}

#[test]
fn bounds_of_a_range_are_its_extremes() {
    for r in all_ranges::<4>() {
        let held: Vec<u64> = (0..16).filter(|n| r.contains(*n)).collect();
        let signed: Vec<i64> = held.iter().map(|n| super::signed(*n, 4)).collect();
        assert_eq!((Some(&r.umin()), Some(&r.umax())), (held.iter().min(), held.iter().max()), "{r:?}");
        assert_eq!((Some(&r.smin()), Some(&r.smax())), (signed.iter().min(), signed.iter().max()), "{r:?}");
        assert_eq!(r.constant(), (held.len() == 1).then(|| held[0]));
    }
}

#[test]
fn arcs_go_around_the_circle() {
    for start in 0..16 {
        for length in 0..16 {
            let best = (0..=length).map(|i| Circular::<4>::known(start + i)).reduce(Circular::join);
            assert_eq!(Some(Circular::arc(start, length)), best, "{start} {length}");
        }
    }
}

#[test]
fn scalars_obey_the_order() {
    let all = some_scalars::<4, 2>(997);
    let sets: Vec<_> = all.iter().map(|s| members::<4>(|n| s.contains(n))).collect();
    for (a, xs) in all.iter().zip(&sets) {
        assert!(a.is_subset_of(*a));
        for (b, ys) in all.iter().zip(&sets).step_by(3) {
            if a.is_subset_of(*b) {
                assert_eq!(xs & !ys, 0, "{a:?} {b:?}");
            }
            let join = a.join(*b);
            assert!(a.is_subset_of(join) && b.is_subset_of(join), "{a:?} {b:?} {join:?}");
            let again = ScalarOf::new(join.tnum(), join.wide(), join.low());
            assert_eq!(again, Some(join), "{a:?} {b:?}: a join of reduced values is reduced");
            let both = a.meet(*b).map_or(0, |s| members::<4>(|n| s.contains(n)));
            assert_eq!(both, xs & ys, "{a:?} {b:?}");
            let widened = a.widen(*b, &[3, 12]);
            let held = members::<4>(|n| widened.contains(n));
            assert_eq!((xs | ys) & !held, 0, "{a:?} {b:?} {widened:?}");
        }
    }
}

#[test]
fn widening_ends() {
    let mut random = Numbers(3);
    let thresholds = [0, 1, 10, 255, 4096, u64::MAX - 7];
    for _ in 0..300 {
        let mut value = Scalar::known(random.next() >> random.below(64));
        let mut changes = 0;
        for _ in 0..400 {
            let next = value.widen(Scalar::known(random.next() >> random.below(64)), &thresholds);
            changes += usize::from(next != value);
            value = next;
        }
        assert!(changes < 40, "{changes} changes up to {value:?}");
    }
}

#[test]
fn widening_stops_at_a_threshold_and_keeps_alignment() {
    let counter = Scalar::known(0).widen(Scalar::known(4), &[1000]);
    assert_eq!((counter.umin(), counter.umax(), counter.tnum().possible() & 3), (0, 1000, 0));
}
