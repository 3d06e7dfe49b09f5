//! Which of two writings counts: a leader that lost its lease and does not know it changes nothing.

/// The latest era, epoch and generation that were seen of a record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fence {
    era: u64,
    epoch: u64,
    generation: u64,
}

/// Whether a writing counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passage {
    /// It is news.
    New,
    /// It says what is known.
    Known,
    /// It is of a leader, or a state, that was left behind.
    Old,
}

impl Fence {
    /// Judges a writing, and remembers it if it is new.
    pub fn pass(&mut self, era: u64, epoch: u64, generation: u64) -> Passage {
        let given = Fence { era, epoch, generation };
        match given.cmp(self) {
            std::cmp::Ordering::Less => Passage::Old,
            std::cmp::Ordering::Equal => Passage::Known,
            std::cmp::Ordering::Greater => {
                *self = given;
                Passage::New
            }
        }
    }

    /// The latest era that was seen.
    pub fn era(self) -> u64 {
        self.era
    }

    /// The highest epoch that was seen in it.
    pub fn epoch(self) -> u64 {
        self.epoch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_epoch_counts_whatever_its_generation_and_a_later_era_whatever_its_epoch() {
        let mut fence = Fence::default();
        let given = [(1, 3, 5), (1, 3, 5), (1, 3, 4), (1, 4, 1), (1, 3, 9), (1, 4, 2), (2, 1, 1), (1, 5, 1)];
        let passed = given.map(|(era, epoch, generation)| fence.pass(era, epoch, generation));
        use Passage::{Known, New, Old};
        assert_eq!(passed, [New, Known, Old, New, Old, New, New, Old]);
        assert_eq!((fence.era(), fence.epoch()), (2, 1));
    }
}
