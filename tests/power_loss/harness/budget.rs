//! How much to try. `HEAPFILE_IMAGES=N` raises the number of images of the whole suite to about N; `HEAPFILE_SEED=S`
//! runs the histories of that seed alone, `HEAPFILE_POINT=P` of those the crash point P alone. After recovery 100 operations are tried on every eighth
//! image in long runs, on every hundredth in short ones, and five on the others; `HEAPFILE_OPERATIONS=N` says otherwise.

use heapfile::testing::Plan;

/// Images of the whole suite without any variable set.
const IMAGES: u64 = 20_000;

fn variable(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text:?}")))
}

/// What one test may spend.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Budget {
    /// Images that it builds, or a few more.
    pub(crate) images: u64,
    pub(crate) first_seed: u64,
    /// One history only: a replay.
    pub(crate) once: bool,
    pub(crate) point: Option<usize>,
    /// Only every so many crash points are looked at.
    pub(crate) stride: usize,
    operations: Option<u64>,
    /// Whether this is a long run.
    pub(crate) long: bool,
}

impl Budget {
    /// A test's part of all images, in thousandths.
    pub(crate) fn of(share: u64) -> Self {
        let (images, seed) = (variable("HEAPFILE_IMAGES"), variable("HEAPFILE_SEED"));
        Self {
            images: images.unwrap_or(IMAGES) * share / 1_000,
            first_seed: seed.unwrap_or(1),
            once: seed.is_some(),
            point: variable("HEAPFILE_POINT").map(|point| point as usize),
            stride: 1,
            operations: variable("HEAPFILE_OPERATIONS"),
            long: images.is_some_and(|n| n > IMAGES),
        }
    }

    /// For a long run that counts its images itself: all points, or this one, by the long plan.
    pub(crate) fn endless(point: Option<usize>) -> Self {
        Self { images: u64::MAX, first_seed: 1, once: false, point, stride: 1, operations: None, long: true }
    }

    /// Looks at one crash point in `stride` only, unless this is a long run: for histories of which there are many.
    pub(crate) fn sparse(self, stride: usize) -> Self {
        Self { stride: if self.long { 1 } else { stride }, ..self }
    }

    /// Operations that are tried after recovery on the image with this number.
    pub(crate) fn operations(&self, image: u64) -> u64 {
        match self.operations {
            Some(count) => count,
            None if image.is_multiple_of(if self.long { 8 } else { 100 }) => 100,
            None => 5,
        }
    }

    /// Images at each point: all where there are few, otherwise a draw.
    pub(crate) fn plan(&self, seed: u64) -> Plan {
        match self.long {
            true => Plan { enumerate_up_to: 64, samples: 8, seed },
            false => Plan { enumerate_up_to: 4, samples: 1, seed },
        }
    }

    /// Runs `one` with seed after seed until the images are used up; prints how many there were.
    pub(crate) fn spend(&self, name: &str, mut one: impl FnMut(u64) -> u64) {
        let (mut seed, mut images) = (self.first_seed, 0);
        loop {
            images += one(seed);
            seed += 1;
            if images >= self.images || self.once {
                break;
            }
        }
        println!("{name}: {images} images of {} histories", seed - self.first_seed);
    }
}
