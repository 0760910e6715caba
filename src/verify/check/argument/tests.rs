//! Which helpers serve which maps, all pairs.

use super::{MapKind as M, map_serves};
use crate::verify::check::helper::Called;
use beelift_runtime::helper::{ArgKind, HelperFlags, Proto, RetKind};
use beelift_runtime::map::{MapDef, MapFlags};

/// The helpers of `kernel/bpf/verifier.c` (6.18) for maps that not every helper serves.
const OWN: &[(M, &[u32])] = &[
    (M::ProgArray, &[12]),
    (M::PerfEventArray, &[22, 25, 55, 111, 121]),
    (M::Ringbuf, &[130, 131, 134, 198]),
    (M::UserRingbuf, &[209]),
    (M::StackTrace, &[27]),
    (M::CgroupArray, &[33, 37]),
    (M::CgroupStorage, &[81]),
    (M::PercpuCgroupStorage, &[81]),
    (M::Devmap, &[1, 51]),
    (M::DevmapHash, &[1, 51]),
    (M::Xskmap, &[1, 51]),
    (M::Cpumap, &[51]),
    (M::ArrayOfMaps, &[1]),
    (M::HashOfMaps, &[1]),
    (M::Sockmap, &[1, 2, 3, 52, 53, 60, 82]),
    (M::Sockhash, &[1, 2, 3, 70, 71, 72, 82]),
    (M::ReuseportSockarray, &[82]),
    (M::Queue, &[87, 88, 89]),
    (M::Stack, &[87, 88, 89]),
    (M::BloomFilter, &[87, 89]),
    (M::SkStorage, &[107, 108, 194]),
    (M::InodeStorage, &[145, 146, 194]),
    (M::TaskStorage, &[156, 157, 194]),
    (M::CgrpStorage, &[210, 211, 194]),
    (M::Arena, &[]),
    (M::StructOps, &[]),
    (M::InsnArray, &[]),
];

/// Helpers that serve maps of any kind that has no helpers of its own.
const COMMON: &[u32] = &[1, 2, 3, 194];

fn called(id: u32) -> Called {
    let proto =
        Proto { args: [ArgKind::None; 5], ret: RetKind::Void, flags: HelperFlags::empty(), release_arg: 0 };
    Called { id, name: "helper", proto }
}

#[test]
fn helpers_serve_the_maps_they_serve_in_linux() {
    for &kind in M::ALL {
        let def = MapDef::new("map", kind, 4, 8, 1);
        let own = OWN.iter().find(|(of, _)| *of == kind).map(|(_, helpers)| *helpers);
        for id in 1..=211 {
            let expected = own.map_or_else(
                || match id {
                    195 => matches!(kind, M::PercpuArray | M::PercpuHash | M::LruPercpuHash),
                    164 => kind != M::LpmTrie,
                    _ => COMMON.contains(&id) || OWN.iter().all(|(_, helpers)| !helpers.contains(&id)),
                },
                |helpers| helpers.contains(&id),
            );
            assert_eq!(map_serves(&def, &called(id)).is_ok(), expected, "{kind:?} and helper {id}");
        }
    }
}

#[test]
fn maps_that_programs_only_read_are_not_changed() {
    for kind in [M::Hash, M::Queue] {
        let mut def = MapDef::new("map", kind, 4, 8, 1);
        def.flags = MapFlags::RDONLY_PROG;
        for id in [1, 2, 3, 87, 88, 89] {
            let served = if kind == M::Hash { id < 4 } else { id > 4 };
            let changes = matches!(id, 2 | 3 | 87 | 88);
            assert_eq!(map_serves(&def, &called(id)).is_ok(), served && !changes, "{kind:?} and helper {id}");
        }
    }
}
