//! What samples say: quartiles, and the ratio of two paired columns with an interval.
//!
//! Nothing here knows what was measured. Shared with the benches.
#![forbid(unsafe_code)]

/// Resamples of a bootstrap.
const RESAMPLES: usize = 1000;

/// Quartiles of a set of samples.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Quartiles {
    /// A quarter of the samples is below.
    pub(crate) lower: f64,
    /// Half of them.
    pub(crate) median: f64,
    /// Three quarters.
    pub(crate) upper: f64,
}

impl Quartiles {
    /// Of samples in any order; zeros of none.
    pub(crate) fn of(samples: &[f64]) -> Self {
        let mut sorted = samples.to_vec();
        sorted.sort_by(f64::total_cmp);
        Self { lower: at(&sorted, 0.25), median: at(&sorted, 0.5), upper: at(&sorted, 0.75) }
    }
}

/// A ratio and the range in which 95 % of the resampled ratios lie.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Ratio {
    /// Of the medians.
    pub(crate) value: f64,
    /// Lower end.
    pub(crate) low: f64,
    /// Upper end.
    pub(crate) high: f64,
}

impl Ratio {
    /// Median of `left` over median of `right`. Samples of one index belong together: they were taken one after
    /// the other, so whole pairs are drawn. `None` when `right` is not clearly above zero.
    pub(crate) fn of(left: &[f64], right: &[f64]) -> Option<Self> {
        let pairs = left.len().min(right.len());
        let (left, right) = (&left[..pairs], &right[..pairs]);
        let value = Quartiles::of(left).median / Quartiles::of(right).median;
        if pairs == 0 || Quartiles::of(right).lower < 0.5 || !value.is_finite() {
            return None;
        }
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut draw = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state % pairs as u64) as usize // below the length of a slice
        };
        let mut ratios: Vec<f64> = (0..RESAMPLES)
            .map(|_| {
                let drawn: Vec<usize> = (0..pairs).map(|_| draw()).collect();
                let median = |side: &[f64]| {
                    let samples: Vec<f64> = drawn.iter().map(|&index| side[index]).collect();
                    Quartiles::of(&samples).median
                };
                median(left) / median(right)
            })
            .collect();
        ratios.sort_by(f64::total_cmp);
        Some(Self { value, low: at(&ratios, 0.025), high: at(&ratios, 0.975) })
    }
}

/// The quantile of sorted samples, between two of them in proportion.
fn at(sorted: &[f64], quantile: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return 0.0 };
    let place = quantile * last as f64;
    let below = place as usize; // not negative, not above `last`
    let above = (below + 1).min(last);
    sorted[below] + (sorted[above] - sorted[below]) * (place - below as f64)
}

/// Samples less what an empty run took in the same round.
pub(crate) fn net(samples: &[f64], empty: &[f64]) -> Vec<f64> {
    samples.iter().zip(empty).map(|(sample, empty)| sample - empty).collect()
}
