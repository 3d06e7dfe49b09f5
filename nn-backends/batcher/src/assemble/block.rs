//! A block of a larger tensor, as runs of bytes that lie side by side in both.

use std::ops::Range;

/// Where a tensor lies within a larger one of the same rank: at row `at` of axis `axis`, and at the beginning of all other
/// axes.
pub(super) struct Block<'a> {
    pub shape: &'a [usize],
    pub whole: &'a [usize],
    pub axis: usize,
    pub at: usize,
    /// Bytes of an element.
    pub size: usize,
}

impl Block<'_> {
    /// Calls `each` with the bytes of every run, in the block's order: in the block, and in the whole.
    pub fn for_each_run(&self, mut each: impl FnMut(Range<usize>, Range<usize>)) {
        if self.shape.contains(&0) {
            return;
        }
        // Axes after the last one that differs are whole in both: a run is that axis and all after it.
        let split = self.shape.iter().zip(self.whole).rposition(|(block, whole)| block != whole).unwrap_or(0);
        let run: usize = self.shape.iter().skip(split).product::<usize>() * self.size;
        let outer = &self.shape[..split];
        let strides = strides(self.whole, self.size);
        let first = strides.get(self.axis).map_or(0, |stride| stride * self.at);
        let mut index = vec![0; split];
        for number in 0..outer.iter().product::<usize>() {
            let start = first + index.iter().zip(&strides).map(|(at, stride)| at * stride).sum::<usize>();
            each(number * run..(number + 1) * run, start..start + run);
            advance(&mut index, outer);
        }
    }
}

/// Bytes from one element to the next along each axis.
fn strides(shape: &[usize], size: usize) -> Vec<usize> {
    let mut strides = vec![size; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis];
    }
    strides
}

/// The next index within `shape`, the last axis fastest.
fn advance(index: &mut [usize], shape: &[usize]) {
    for (at, extent) in index.iter_mut().zip(shape).rev() {
        *at += 1;
        if *at < *extent {
            return;
        }
        *at = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(shape: &[usize], whole: &[usize], axis: usize, at: usize) -> Vec<(Range<usize>, Range<usize>)> {
        let mut runs = Vec::new();
        Block { shape, whole, axis, at, size: 1 }.for_each_run(|block, whole| runs.push((block, whole)));
        runs
    }

    #[test]
    fn rows_of_the_outermost_axis_are_one_run() {
        assert_eq!(runs(&[2, 3], &[5, 3], 0, 1), [(0..6, 3..9)]);
        assert_eq!(runs(&[5, 3], &[5, 3], 0, 0), [(0..15, 0..15)]);
        assert_eq!(runs(&[2], &[5], 0, 3), [(0..2, 3..5)]);
    }

    #[test]
    fn shorter_rows_and_inner_axes_are_several() {
        assert_eq!(runs(&[2, 2], &[5, 3], 0, 1), [(0..2, 3..5), (2..4, 6..8)]);
        assert_eq!(runs(&[2, 1, 2], &[2, 3, 2], 1, 2), [(0..2, 4..6), (2..4, 10..12)]);
    }

    #[test]
    fn nothing_has_no_runs() {
        assert!(runs(&[0, 3], &[5, 3], 0, 1).is_empty());
    }
}
