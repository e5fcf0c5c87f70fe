//! Random numbers that are the same in every run and for every system: a splitmix64, and the sizes
//! drawn with it.

/// splitmix64 (Steele, Lea, Flood 2014): 64 bits of state, passes BigCrush, about a nanosecond.
#[derive(Clone)]
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `n`, by multiplication: the bias is under n / 2^32.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        (((self.next() >> 32) * n as u64) >> 32) as usize
    }

    /// Fisher-Yates.
    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }
}

/// Block lengths, log-uniform between two bounds: as many of 16..32 as of 256..512.
///
/// A table of quantiles instead of an `exp` per draw: 4 KiB, which stays in the first-level cache.
pub(crate) struct Sizes([u32; Self::QUANTILES]);

impl Sizes {
    const QUANTILES: usize = 1024;

    /// Bounds inclusive, in bytes.
    pub(crate) fn log_uniform(min: u32, max: u32) -> Self {
        let ratio = f64::from(max) / f64::from(min);
        Self(std::array::from_fn(|i| {
            let quantile = (i as f64 + 0.5) / Self::QUANTILES as f64;
            (f64::from(min) * ratio.powf(quantile)).round() as u32
        }))
    }

    pub(crate) fn draw(&self, rng: &mut Rng) -> u32 {
        self.0[(rng.next() >> 54) as usize]
    }

    /// Mean length in bytes.
    pub(crate) fn mean(&self) -> f64 {
        self.0.iter().map(|&n| f64::from(n)).sum::<f64>() / Self::QUANTILES as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_log_uniform_within_their_bounds() {
        let sizes = Sizes::log_uniform(16, 512);
        let mut rng = Rng::new(1);
        let draws: Vec<u32> = (0..100_000).map(|_| sizes.draw(&mut rng)).collect();
        assert!(draws.iter().all(|n| (16..=512).contains(n)));
        for octave in [16, 32, 64, 128, 256] {
            let share = draws.iter().filter(|&&n| n >= octave && n < octave * 2).count();
            assert!((19_000..21_000).contains(&share), "{octave}: {share} of 100000, a fifth expected");
        }
        assert!((sizes.mean() - 496.0 / 32f64.ln()).abs() < 1.0, "{}", sizes.mean());
    }

    #[test]
    fn the_sequence_is_that_of_splitmix64() {
        let mut rng = Rng(0);
        assert_eq!(rng.next(), 0xe220_a839_7b1d_cdaf, "first output of the reference for seed 0");
    }

    #[test]
    fn shuffle_keeps_every_item_and_moves_most() {
        let mut items: Vec<usize> = (0..1000).collect();
        Rng::new(7).shuffle(&mut items);
        assert!(items.iter().enumerate().filter(|(i, x)| i == *x).count() < 20);
        items.sort_unstable();
        assert!(items.iter().copied().eq(0..1000));
    }
}
