//! Which pages of a mapping are ready for stores: present, writable, with space on the disk, so that no store to one can fail.

#![forbid(unsafe_code)]

/// Pages that a handle has made ready.
#[derive(Debug, Default)]
pub(crate) struct Ready(Vec<u64>);

impl Ready {
    /// Has `make` make a page ready, unless that has been done.
    #[inline(always)]
    pub(crate) fn ensure<E>(&mut self, page: u64, make: impl FnOnce() -> Result<(), E>) -> Result<(), E> {
        let (word, bit) = ((page / 64) as usize, 1u64 << (page % 64));
        if self.0.get(word).is_some_and(|pages| pages & bit != 0) {
            return Ok(());
        }
        make()?;
        if word >= self.0.len() {
            self.0.resize((word + 1).next_power_of_two(), 0);
        }
        self.0[word] |= bit;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_made_ready_once_and_again_if_that_failed() {
        let (mut ready, mut made) = (Ready::default(), Vec::new());
        let mut ensure = |page| {
            ready.ensure(page, || {
                made.push(page);
                if made == [3, 64, 1000] { Err("no space") } else { Ok(()) }
            })
        };
        let outcomes = [3, 3, 64, 1000, 64, 1000, 1000, 3].map(&mut ensure);
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_err()).count(), 1);
        assert_eq!(made, [3, 64, 1000, 1000]);
    }
}
