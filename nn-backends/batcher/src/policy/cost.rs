//! What a run costs: a part for the run itself, and a part for each cell. Learned from the runs there were.

use std::time::Duration;

/// How much one more run counts against all before it.
const FORGET: f64 = 0.97;

/// No estimate is longer: sums of a few with the time of day stay times of day.
const RUN_MAX: Duration = Duration::from_secs(3600);

/// Runs before there is an estimate.
const RUNS_MIN: u32 = 3;

/// A run that took this many times what was expected counts as if it had taken no more: a core that was taken away for a
/// while says nothing of the model.
const OUTLIER: f64 = 8.0;

/// A weighted least-squares line through the runs, newer ones weighing more.
#[derive(Clone, Debug, Default)]
pub struct Cost {
    runs: u32,
    weight: f64,
    cells: f64,
    cells_squared: f64,
    micros: f64,
    product: f64,
    largest: usize,
}

/// The line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// What every run takes.
    pub fixed: Duration,
    /// What each cell adds, in microseconds.
    pub cell_us: f64,
}

impl Estimate {
    /// What `cells` add.
    pub fn cells(&self, cells: usize) -> Duration {
        micros(self.cell_us * cells as f64)
    }

    /// What a run of `cells` takes.
    pub fn run(&self, cells: usize) -> Duration {
        self.fixed.saturating_add(self.cells(cells))
    }
}

impl Cost {
    /// Takes in a run of `cells`, padding included, that took `took`.
    pub fn observe(&mut self, cells: usize, took: Duration) {
        self.largest = self.largest.max(cells);
        let cells = cells as f64;
        let mut took = took.as_secs_f64() * 1e6;
        if let Some(expected) = self.estimate() {
            let expected = expected.fixed.as_secs_f64() * 1e6 + expected.cell_us * cells;
            took = took.min(expected.max(1.0) * OUTLIER);
        }
        for (sum, value) in [
            (&mut self.weight, 1.0),
            (&mut self.cells, cells),
            (&mut self.cells_squared, cells * cells),
            (&mut self.micros, took),
            (&mut self.product, cells * took),
        ] {
            *sum = *sum * FORGET + value;
        }
        self.runs = self.runs.saturating_add(1);
    }

    /// Cells of the largest run so far: beyond it the line is a guess.
    pub fn cells_max(&self) -> usize {
        self.largest
    }

    /// The estimate, once there were some runs.
    pub fn estimate(&self) -> Option<Estimate> {
        if self.runs < RUNS_MIN {
            return None;
        }
        let (cells, took) = (self.cells / self.weight, self.micros / self.weight);
        let variance = self.cells_squared / self.weight - cells * cells;
        // Runs of one size cannot tell the two parts apart: half each, until other sizes come.
        let known = variance > 1e-3 * cells * cells;
        let slope =
            if known { (self.product / self.weight - cells * took) / variance } else { 0.5 * took / cells.max(1.0) };
        let cell_us = slope.clamp(0.0, took / cells.max(1.0));
        Some(Estimate { fixed: micros(took - cell_us * cells), cell_us })
    }
}

fn micros(micros: f64) -> Duration {
    Duration::try_from_secs_f64(micros.max(0.0) / 1e6).unwrap_or(RUN_MAX).min(RUN_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn us(micros: u64) -> Duration {
        Duration::from_micros(micros)
    }

    fn close(a: Duration, b: Duration) -> bool {
        a.abs_diff(b) <= us(2).max(b / 50)
    }

    #[test]
    fn the_two_parts_are_told_apart_by_runs_of_different_sizes() {
        let mut cost = Cost::default();
        assert_eq!(cost.estimate(), None);
        for cells in [10, 200, 50, 400, 10] {
            cost.observe(cells, us(300 + 7 * cells as u64));
        }
        let estimate = cost.estimate().unwrap();
        assert!(close(estimate.fixed, us(300)) && close(estimate.run(100), us(1000)), "{estimate:?}");
    }

    #[test]
    fn runs_of_one_size_are_predicted_for_that_size() {
        let mut cost = Cost::default();
        (0..5).for_each(|_| cost.observe(16, us(400)));
        let estimate = cost.estimate().unwrap();
        assert!(close(estimate.run(16), us(400)), "{estimate:?}");
    }

    #[test]
    fn a_machine_that_became_slower_is_believed_in_the_end_and_one_hiccup_is_not() {
        let mut cost = Cost::default();
        (0..200).for_each(|i| cost.observe(1 + i % 7, us(100)));
        cost.observe(3, Duration::from_secs(60));
        assert!(cost.estimate().unwrap().run(3) < us(150), "{:?}", cost.estimate());
        (0..200).for_each(|i| cost.observe(1 + i % 7, us(500)));
        assert!(close(cost.estimate().unwrap().run(3), us(500)), "{:?}", cost.estimate());
    }

    #[test]
    fn no_part_is_ever_negative() {
        let mut cost = Cost::default();
        for (cells, took) in [(1, 900), (100, 100), (50, 300), (0, 5)] {
            cost.observe(cells, us(took));
        }
        let estimate = cost.estimate().unwrap();
        assert!(estimate.cell_us >= 0.0 && estimate.run(0) <= estimate.run(1000));
    }
}
