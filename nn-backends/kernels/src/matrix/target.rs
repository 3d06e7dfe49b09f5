//! Where a product goes: rows that several threads write, each its own columns.

use std::marker::PhantomData;

use crate::simd::{LANES_MAX, Simd};

/// Rows of a product, from a column of theirs on.
pub struct Target<'a> {
    start: *mut f32,
    rows: usize,
    columns: usize,
    stride: usize,
    /// Whether products are added to what is there.
    adds: bool,
    bias: Option<&'a [f32]>,
    of: PhantomData<&'a mut [f32]>,
}

// SAFETY: it is a borrow of floats; that no two threads write the same ones is the promise of who multiplies.
unsafe impl Sync for Target<'_> {}
// SAFETY: likewise.
unsafe impl Send for Target<'_> {}

impl<'a> Target<'a> {
    /// The `columns` from `first` on of rows of `stride` in `out`.
    ///
    /// # Panics
    /// When these are no rows that have so many.
    pub fn new(out: &'a mut [f32], stride: usize, first: usize, columns: usize) -> Self {
        assert!(stride >= first + columns && out.len().is_multiple_of(stride), "columns of rows of {stride}");
        let (rows, first) = (out.len() / stride, first.min(out.len()));
        Target { start: out[first..].as_mut_ptr(), rows, columns, stride, adds: false, bias: None, of: PhantomData }
    }

    /// Divides whole rows into columns for as many products, which may run side by side.
    ///
    /// # Panics
    /// When `widths` are more than the rows are wide.
    pub fn divide(out: &'a mut [f32], stride: usize, widths: &[usize]) -> Vec<Self> {
        assert!(widths.iter().sum::<usize>() <= stride && out.len().is_multiple_of(stride), "rows of {stride}");
        let (start, rows, mut first) = (out.as_mut_ptr(), out.len() / stride, 0);
        let divided = widths.iter().map(|&columns| {
            // No element is reached by two of them: their columns are apart, as asserted.
            let start = start.wrapping_add(first);
            first += columns;
            Target { start, rows, columns, stride, adds: false, bias: None, of: PhantomData }
        });
        divided.collect()
    }

    /// The same, where products are added to what is there.
    pub fn adding(self) -> Self {
        Target { adds: true, ..self }
    }

    /// The same, with `bias` added to each row of a product.
    ///
    /// # Panics
    /// When it has not as many elements.
    pub fn with_bias(self, bias: Option<&'a [f32]>) -> Self {
        assert!(bias.is_none_or(|bias| bias.len() == self.columns), "a bias for each column");
        Target { bias, ..self }
    }

    /// The same elements once more, without a bias.
    ///
    /// # Safety
    /// No two threads write the same columns through one or the other at a time.
    pub(crate) unsafe fn again(&self) -> Target<'_> {
        Target { bias: None, ..*self }
    }

    pub(crate) fn fits(&self, rows: usize, columns: usize) -> bool {
        self.rows == rows && self.columns == columns
    }

    /// Writes the vector of `row` from `column` on; what is beyond the last column is dropped.
    ///
    /// # Safety
    /// Nobody else writes these columns meanwhile: the promise of who calls [`super::Matrix::multiply`].
    #[inline(always)]
    pub(crate) unsafe fn write<S: Simd>(&self, simd: S, row: usize, column: usize, x: S::F) {
        // SAFETY: the caller's promise.
        unsafe { self.write_some(simd, row, column, S::LANES, x) }
    }

    /// The same with at most `count` elements.
    ///
    /// # Safety
    /// As above.
    #[inline(always)]
    pub(crate) unsafe fn write_some<S: Simd>(&self, simd: S, row: usize, column: usize, count: usize, mut x: S::F) {
        assert!(column < self.columns);
        let count = count.min(S::LANES).min(self.columns - column);
        if let Some(bias) = self.bias {
            x = simd.add(x, simd.load_some(&bias[column..], 0.0));
        }
        // SAFETY: the caller's promise.
        let out = unsafe { self.elements(row, column, count) };
        if self.adds {
            x = simd.add(x, simd.load_some(out, 0.0));
        }
        simd.store_some(x, out);
        const { assert!(S::LANES <= LANES_MAX) };
    }

    /// The `count` elements of `row` from `column` on.
    ///
    /// # Panics
    /// When there are not so many.
    ///
    /// # Safety
    /// Nobody else reads or writes them meanwhile.
    #[inline(always)]
    #[allow(clippy::mut_from_ref, reason = "that they are the caller's alone is what it promises")]
    pub(crate) unsafe fn elements(&self, row: usize, column: usize, count: usize) -> &mut [f32] {
        assert!(row < self.rows && column <= self.columns && count <= self.columns - column);
        // SAFETY: the row and these columns of it lie in the floats this was made of, and are the caller's alone.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(row * self.stride + column), count) }
    }
}
