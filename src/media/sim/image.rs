//! Which images to build at a crash point, and building them.
//!
//! Invariant: an image follows from history, point and [`Recipe`] alone.
//!
//! Cost: one copy of the file's durable content, and of each sector that is not durable.

use super::crash::{Crash, Length, SECTOR, Sector};
use super::history::History;
use super::rng::SplitMix64;
use crate::layout::PAGE;
use std::ops::Range;

/// Which images to build at a crash point. See [`Crash::recipes`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// All images are built where there are at most this many.
    pub enumerate_up_to: u64,
    /// Elsewhere so many are drawn, beside at most as many special ones.
    pub samples: u64,
    /// Seed of the draw.
    pub seed: u64,
}

/// How to build one image at a crash point: with the point and the history, all that is needed to build it again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Recipe {
    /// The least that can be there: nothing but what is durable.
    Old,
    /// The most: everything that the page cache held.
    New,
    /// As [`Recipe::Old`], but for the page with this number.
    OnlyNew(u64),
    /// As [`Recipe::New`], but for the page with this number.
    OnlyOld(u64),
    /// The image with this number among [`Crash::combinations`].
    Nth(u64),
    /// A random one.
    Sampled(u64),
}

impl History {
    /// Builds the images of `plan` at each of these points and shows them with point and recipe. Returns how
    /// many there were.
    ///
    /// ```
    /// # fn main() -> heapfile::Result<()> {
    /// use heapfile::testing::{Plan, SimDisk};
    /// let disk = SimDisk::from_image(&[7; 4096])?;
    /// let history = disk.history();
    /// let plan = Plan { enumerate_up_to: 100, samples: 20, seed: 1 };
    /// let count = history.images(0..history.points(), &plan, |point, recipe, image| {
    ///     assert_eq!(image, [7; 4096], "point {point}, {recipe:?}");
    /// });
    /// assert_eq!(count, 1);
    /// # Ok(()) }
    /// ```
    pub fn images(
        &self,
        points: Range<usize>,
        plan: &Plan,
        mut show: impl FnMut(usize, Recipe, &[u8]),
    ) -> u64 {
        let mut count = 0;
        let mut image = Vec::new();
        let mut crash = self.at(points.start);
        for point in points {
            crash.advance_to(point);
            for recipe in crash.recipes(plan) {
                crash.build(recipe, &mut image);
                show(point, recipe, &image);
                count += 1;
            }
        }
        count
    }
}

impl Crash<'_> {
    /// How many different choices of versions and length there are, runtime pages left aside. Of the lengths
    /// between two, only the first, the middle and the last page are counted. [`u64::MAX`] stands for more.
    pub fn combinations(&self) -> u64 {
        self.candidates().iter().fold(0, |sum, &length| sum.saturating_add(self.choices(length)))
    }

    fn choices(&self, length: Length) -> u64 {
        let mut product = 1u64;
        self.each_sector(length, false, |sector| product = product.saturating_mul(sector.choices()));
        product
    }

    /// The recipes of `plan` at this point: all images, or [`Recipe::Old`], [`Recipe::New`], each page alone
    /// new or old, and then random ones.
    pub fn recipes(&self, plan: &Plan) -> Vec<Recipe> {
        let combinations = self.combinations();
        if combinations <= plan.enumerate_up_to {
            return (0..combinations).map(Recipe::Nth).collect();
        }
        let mut rng = SplitMix64(plan.seed ^ self.seed_of_point());
        let mut recipes = vec![Recipe::Old, Recipe::New];
        let mut alone: Vec<_> =
            self.dirty_pages().flat_map(|page| [Recipe::OnlyNew(page), Recipe::OnlyOld(page)]).collect();
        for i in 0..(alone.len() as u64).min(plan.samples) as usize {
            // Draws without repeating, in the order of the pages where all fit.
            if alone.len() as u64 > plan.samples {
                let other = i + rng.below((alone.len() - i) as u64) as usize;
                alone.swap(i, other);
            }
            recipes.push(alone[i]);
        }
        recipes.extend((0..plan.samples).map(|_| Recipe::Sampled(rng.next())));
        recipes
    }

    /// Keeps the draws at different points apart.
    fn seed_of_point(&self) -> u64 {
        SplitMix64(self.point as u64).next()
    }

    /// Builds the file that `recipe` describes, in place of what `image` held.
    pub fn build(&self, recipe: Recipe, image: &mut Vec<u8>) {
        let (oldest, newest) = (self.lengths[0], self.lengths[self.lengths.len() - 1]);
        match recipe {
            Recipe::Old => {
                self.assemble(oldest, image, |s| s.low);
                self.fill_runtime(oldest, image, Runtime::Old, &mut SplitMix64(0));
            }
            Recipe::New => {
                self.assemble(newest, image, |s| s.high);
                self.fill_runtime(newest, image, Runtime::New, &mut SplitMix64(0));
            }
            Recipe::OnlyNew(page) => {
                let length = if (page + 1) * PAGE <= oldest.len { oldest } else { newest };
                self.assemble(length, image, |s| if s.page == page { s.high } else { s.low });
                self.fill_runtime(length, image, Runtime::Old, &mut SplitMix64(page));
            }
            Recipe::OnlyOld(page) => {
                self.assemble(newest, image, |s| if s.page == page { s.low } else { s.high });
                self.fill_runtime(newest, image, Runtime::New, &mut SplitMix64(page));
            }
            Recipe::Nth(number) => {
                let length = self.assemble_nth(number, image);
                let mut rng = SplitMix64(number ^ self.seed_of_point());
                self.fill_runtime(length, image, Runtime::any(&mut rng), &mut rng);
            }
            Recipe::Sampled(seed) => {
                let mut rng = SplitMix64(seed);
                let length = self.sample_length(&mut rng);
                let mut sampler = Sampler::new(self, &mut rng);
                self.assemble(length, image, |sector| sampler.pick(&sector));
                self.fill_runtime(length, image, Runtime::any(&mut rng), &mut rng);
            }
        }
    }

    fn assemble_nth(&self, mut number: u64, image: &mut Vec<u8>) -> Length {
        let candidates = self.candidates();
        let mut length = candidates[0];
        for candidate in candidates {
            length = candidate;
            let choices = self.choices(length);
            if number < choices {
                break;
            }
            number -= choices;
        }
        self.assemble(length, image, |sector| {
            let digit = number % sector.choices();
            number /= sector.choices();
            sector.low + digit as usize
        });
        length
    }

    /// The lengths that the file may have: each in the history, and three between two neighbours.
    fn candidates(&self) -> Vec<Length> {
        let mut all = Vec::new();
        for (i, &length) in self.lengths.iter().enumerate() {
            all.push(length);
            let Some(next) = self.lengths.get(i + 1) else { break };
            let (from, to) = (length.len.min(next.len), length.len.max(next.len));
            let middle = (from + (to - from) / 2) / PAGE * PAGE;
            let mut between = [(from / PAGE + 1) * PAGE, middle, to.saturating_sub(1) / PAGE * PAGE];
            between.sort_unstable();
            let mut last = from;
            for len in between {
                if len > last && len < to {
                    all.push(Length { place: length.place, len });
                    last = len;
                }
            }
        }
        all
    }

    fn sample_length(&self, rng: &mut SplitMix64) -> Length {
        let i = rng.below(self.lengths.len() as u64) as usize;
        let length = self.lengths[i];
        match self.lengths.get(i + 1) {
            Some(next) if rng.below(2) == 0 => {
                let (from, to) = (length.len.min(next.len), length.len.max(next.len));
                let pages = (to - 1) / PAGE - from / PAGE;
                match (from / PAGE + 1 + rng.below(pages)) * PAGE {
                    len if len < to => Length { place: length.place, len },
                    _ => length,
                }
            }
            _ => length,
        }
    }

    fn assemble(&self, length: Length, image: &mut Vec<u8>, mut pick: impl FnMut(Sector<'_>) -> usize) {
        let len = length.len as usize;
        image.clear();
        image.extend_from_slice(&self.durable[..len.min(self.durable.len())]);
        image.resize(len, 0);
        self.each_sector(length, false, |sector| {
            let chosen = pick(sector);
            sector.copy_version(chosen, image);
        });
    }

    fn fill_runtime(&self, length: Length, image: &mut [u8], what: Runtime, rng: &mut SplitMix64) {
        let runtime = self.history.runtime();
        self.each_sector(length, true, |sector| {
            let chosen = match what {
                Runtime::Old => sector.low,
                Runtime::Older => sector.low + rng.below(sector.choices()) as usize,
                _ => sector.high,
            };
            sector.copy_version(chosen, image);
        });
        let end = image.len();
        let bytes = |page: u64| ((page * PAGE) as usize).min(end);
        let region = &mut image[bytes(runtime.start)..bytes(runtime.end)];
        let garbage = |bytes: &mut [u8], rng: &mut SplitMix64| {
            for word in bytes.chunks_mut(8) {
                word.copy_from_slice(&rng.next().to_le_bytes()[..word.len()]);
            }
        };
        match what {
            Runtime::Old | Runtime::New | Runtime::Older => {}
            Runtime::Zeros => region.fill(0),
            Runtime::Garbage => garbage(region, rng),
            Runtime::Mixed => {
                for sector in region.chunks_mut(SECTOR) {
                    match rng.below(4) {
                        0 => sector.fill(0),
                        1 => garbage(sector, rng),
                        _ => {}
                    }
                }
            }
        }
    }
}

/// What the runtime pages hold after a crash.
#[derive(Debug, Clone, Copy)]
enum Runtime {
    Old,
    New,
    Older,
    Zeros,
    Garbage,
    Mixed,
}

impl Runtime {
    fn any(rng: &mut SplitMix64) -> Self {
        [Self::New, Self::Older, Self::Zeros, Self::Garbage, Self::Mixed][rng.below(5) as usize]
    }
}

/// How a random image picks versions. One rule alone would hardly ever draw the images that hurt.
#[derive(Debug, Clone, Copy)]
enum Style {
    /// Every sector any version.
    Sectors,
    /// Every page wholly old or new.
    Pages,
    /// A few sectors new, the rest old.
    FewNew,
    /// A few sectors old, the rest new.
    FewOld,
    /// All as of one moment, but for a few sectors.
    Moment,
    /// Every page as of a moment of its own.
    PageMoments,
}

struct Sampler<'r> {
    style: Style,
    rng: &'r mut SplitMix64,
    /// One sector in so many is an exception.
    rarity: u64,
    /// Places between which moments lie.
    span: Range<usize>,
    moment: usize,
    page: Option<u64>,
    page_new: bool,
}

impl<'r> Sampler<'r> {
    fn new(crash: &Crash<'_>, rng: &'r mut SplitMix64) -> Self {
        use Style::*;
        let style = [Sectors, Pages, FewNew, FewOld, Moment, PageMoments][rng.below(6) as usize];
        let (mut sectors, mut first) = (0, crash.taken);
        crash.each_sector(Length { place: crash.taken, len: u64::MAX }, false, |sector| {
            sectors += 1;
            first = first.min(sector.versions[0].place);
        });
        let span = first.saturating_sub(1)..crash.taken + 1;
        // Between one and four exceptions an image.
        let rarity = (sectors / (1 + rng.below(4))).max(1);
        let mut sampler = Self { style, rng, rarity, span, moment: 0, page: None, page_new: false };
        sampler.moment = sampler.draw_moment();
        sampler
    }

    fn draw_moment(&mut self) -> usize {
        self.span.start + self.rng.below(self.span.len() as u64) as usize
    }

    fn pick(&mut self, sector: &Sector<'_>) -> usize {
        if self.page != Some(sector.page) {
            self.page = Some(sector.page);
            self.page_new = self.rng.below(2) == 0;
            if matches!(self.style, Style::PageMoments) {
                self.moment = self.draw_moment();
            }
        }
        let any = sector.low + self.rng.below(sector.choices()) as usize;
        let rare = self.rng.below(self.rarity) == 0;
        let then = sector
            .versions
            .partition_point(|version| version.place <= self.moment)
            .clamp(sector.low, sector.high);
        match self.style {
            Style::Sectors => any,
            Style::Pages if self.page_new => sector.high,
            Style::Pages => sector.low,
            Style::FewNew if rare => sector.high,
            Style::FewNew => sector.low,
            Style::FewOld if rare => sector.low,
            Style::FewOld => sector.high,
            Style::Moment if rare => any,
            Style::Moment | Style::PageMoments => then,
        }
    }
}
