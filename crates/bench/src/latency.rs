//! Counts of latencies by size, without a memory that grows while it measures: 16 steps per power of two, so that a figure
//! read from it is at most 1/16 too small.

pub(crate) struct Latencies {
    counts: Vec<u64>,
    longest: u64,
}

impl Latencies {
    const STEPS: usize = 16;

    pub(crate) fn new() -> Self {
        Self { counts: vec![0; 64 * Self::STEPS], longest: 0 }
    }

    #[inline]
    pub(crate) fn add(&mut self, nanos: u64) {
        self.counts[Self::place(nanos)] += 1;
        self.longest = self.longest.max(nanos);
    }

    fn place(nanos: u64) -> usize {
        if nanos < Self::STEPS as u64 {
            return nanos as usize;
        }
        let octave = nanos.ilog2() as usize;
        (octave - 3) * Self::STEPS + (nanos >> (octave - 4)) as usize - Self::STEPS
    }

    /// The least latency that belongs to a place.
    fn least(place: usize) -> u64 {
        if place < Self::STEPS {
            return place as u64;
        }
        let octave = place / Self::STEPS + 3;
        ((place % Self::STEPS + Self::STEPS) as u64) << (octave - 4)
    }

    pub(crate) fn longest(&self) -> u64 {
        self.longest
    }

    /// What `share` of the latencies do not exceed (but for the step).
    pub(crate) fn quantile(&self, share: f64) -> u64 {
        let wanted = (self.counts.iter().sum::<u64>() as f64 * share).ceil() as u64;
        let mut below = 0;
        let place = self.counts.iter().position(|count| {
            below += count;
            below >= wanted.max(1)
        });
        place.map_or(0, Self::least)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_dense_and_at_most_a_sixteenth_wide() {
        for nanos in (0..5000).chain([1 << 20, (1 << 40) + 12345]) {
            let least = Latencies::least(Latencies::place(nanos));
            assert!(least <= nanos && nanos - least <= nanos / 16, "{nanos}: {least}");
        }
    }

    #[test]
    fn quantiles_and_the_longest() {
        let mut all = Latencies::new();
        (1..=100).for_each(|n| all.add(n * 16));
        assert_eq!((all.quantile(0.5), all.longest()), (800, 1600));
        assert!((1536..=1584).contains(&all.quantile(0.99)));
        assert_eq!(Latencies::new().quantile(0.5), 0);
    }
}
