//! Matrix products: rows times packed weights, tile by tile, each tile's sums finished while they are at hand.
//!
//! After the scheme of Goto and van de Geijn ("Anatomy of High-Performance Matrix Multiplication", 2008), less what small
//! models need none of: the depth is never cut, so that an element is one sum in one order, whatever runs beside it, and
//! what follows a product (bias, activation, residual) is done before its sums leave the first cache.

mod float;
mod pack;
mod tile;

pub(crate) use float::{FinishFloats, Then};
pub(crate) use pack::{Packed, pack_columns, pack_rows};
pub(crate) use tile::Number;

use std::ops::Range;

use crate::simd::{PANEL_MAX, Simd, TILE_ROWS_MAX, TILE_VECTORS};
use tile::Tile;

/// Bytes of rows that pass below one panel before the next panel's turn: they are to stay in the second cache.
const BLOCK_BYTES: usize = 192 << 10;

/// Rows of activations, `depth` elements of each at the start of every `stride`.
#[derive(Clone, Copy)]
pub(crate) struct Rows<'a, N> {
    pub data: &'a [N],
    pub rows: usize,
    pub stride: usize,
}

/// Packed weights: panel after panel as wide as a tile, each with all of the depth, row after row; the last one filled up
/// with zeros to the right.
#[derive(Clone, Copy)]
pub(crate) struct Panels<'a, N> {
    pub data: &'a [N],
    pub depth: usize,
    pub columns: usize,
}

/// What becomes of sums.
pub(crate) trait Finish<N> {
    /// Takes the first `width` of `sums`, a panel wide: those of `row` from `column` on.
    fn row<S: Simd>(&mut self, simd: S, row: usize, column: usize, width: usize, sums: &[N]);
}

/// Elements of a row of a panel.
pub(crate) const fn panel_width<S: Simd>() -> usize {
    S::LANES * TILE_VECTORS
}

/// Multiplies, and hands every sum to `finish` once.
#[inline(always)]
pub(crate) fn multiply<S: Simd, N: Number, F: Finish<N>>(simd: S, left: Rows<N>, right: Panels<N>, finish: &mut F) {
    multiply_panels(simd, left, right, 0..right.columns.div_ceil(panel_width::<S>()), finish);
}

/// The same with these panels alone.
#[inline(always)]
pub(crate) fn multiply_panels<S: Simd, N: Number, F: Finish<N>>(
    simd: S,
    left: Rows<N>,
    right: Panels<N>,
    panels: Range<usize>,
    finish: &mut F,
) {
    let (width, depth) = (panel_width::<S>(), right.depth);
    if left.rows == 0 || panels.is_empty() {
        return;
    }
    assert!(panels.end <= right.columns.div_ceil(width), "no such panels");
    assert!(left.stride >= depth && left.data.len() >= (left.rows - 1) * left.stride + depth, "rows are missing");
    assert!(right.data.len() >= panels.end * width * depth, "weights are missing");
    let block_rows = (BLOCK_BYTES / (size_of::<N>() * depth.max(1))).next_multiple_of(S::TILE_ROWS);
    let mut sums = [N::default(); TILE_ROWS_MAX * PANEL_MAX];
    for block in (0..left.rows).step_by(block_rows) {
        let rows = block_rows.min(left.rows - block);
        // Tiles of equal height, or nearly: a full one and one of a single row would wait for their own sums.
        let tiles = rows.div_ceil(S::TILE_ROWS);
        for panel in panels.clone() {
            let column = panel * width;
            let panel_data = &right.data[column * depth..][..width * depth];
            for tile in 0..tiles {
                let (begin, end) = (block + rows * tile / tiles, block + rows * (tile + 1) / tiles);
                let rows = Rows { data: &left.data[begin * left.stride..], rows: end - begin, stride: left.stride };
                Tile { rows, panel: panel_data, depth, sums: &mut sums }.compute(simd);
                for (row, sums) in (begin..end).zip(sums.chunks_exact(width)) {
                    finish.row(simd, row, column, width.min(right.columns - column), sums);
                }
            }
        }
    }
}
