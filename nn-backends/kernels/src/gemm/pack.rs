//! Weights in the order in which tiles read them.

use super::{Number, Panels, panel_width};
use crate::memory::Buffer;
use crate::simd::Simd;

/// Weights in panels, made once.
pub(crate) struct Packed<N> {
    data: Buffer<N>,
    depth: usize,
    columns: usize,
}

impl<N: Number> Packed<N> {
    /// Packs what `element` says stands in a row of the depth and a column.
    pub fn new<S: Simd>(depth: usize, columns: usize, element: impl Fn(usize, usize) -> N) -> Self {
        let width = panel_width::<S>();
        let mut data = Buffer::zeros(columns.next_multiple_of(width) * depth);
        for (panel, rows) in data.chunks_exact_mut((width * depth).max(1)).enumerate() {
            // Column by column, as weights are stored by output.
            for column in panel * width..columns.min((panel + 1) * width) {
                for (step, row) in rows.chunks_exact_mut(width).enumerate() {
                    row[column % width] = element(step, column);
                }
            }
        }
        Packed { data, depth, columns }
    }

    /// The panels.
    pub fn panels(&self) -> Panels<'_, N> {
        Panels { data: &self.data, depth: self.depth, columns: self.columns }
    }

    /// Bytes of memory.
    pub fn bytes(&self) -> usize {
        self.data.len() * size_of::<N>()
    }
}

/// Packs the transpose of `rows` of `depth` elements, one in every `stride` of `data`: each becomes a column. What stands
/// beyond the last one is any number.
#[inline(always)]
pub(crate) fn pack_columns<'a, S: Simd>(
    simd: S,
    data: &[f32],
    rows: usize,
    stride: usize,
    depth: usize,
    panels: &'a mut Vec<f32>,
) -> Panels<'a, f32> {
    let width = panel_width::<S>();
    let panels = first(panels, rows.next_multiple_of(width) * depth);
    assert!(stride >= depth && data.len() >= (rows - 1) * stride + depth, "rows are missing");
    let whole = depth - depth % S::LANES;
    for column in (0..rows).step_by(S::LANES) {
        let (count, data) = (S::LANES.min(rows - column), &data[column * stride..]);
        let panel = &mut panels[column / width * width * depth..][..width * depth];
        for step in (0..whole).step_by(S::LANES) {
            let (from, to) = (&data[step..], &mut panel[step * width + column % width..]);
            // SAFETY: `count` rows are there from `column` on, each with `LANES` elements from `step` on, as asserted
            // above; and the panel has `LANES` rows from `step` on, with a vector's room from `column % width` on.
            unsafe { simd.transpose_at(from.as_ptr(), stride, count, to.as_mut_ptr(), width) };
        }
        for (row, step) in (0..count).flat_map(|row| (whole..depth).map(move |step| (row, step))) {
            panel[step * width + column % width + row] = data[row * stride + step];
        }
    }
    Panels { data: panels, depth, columns: rows }
}

/// Packs `depth` rows of `columns` elements, one in every `stride` of `data`. What stands beyond the last column is any
/// number.
#[inline(always)]
pub(crate) fn pack_rows<'a, S: Simd>(
    simd: S,
    data: &[f32],
    depth: usize,
    stride: usize,
    columns: usize,
    panels: &'a mut Vec<f32>,
) -> Panels<'a, f32> {
    let width = panel_width::<S>();
    let panels = first(panels, columns.next_multiple_of(width) * depth);
    for (step, row) in data.chunks(stride).take(depth).enumerate() {
        for (part, column) in row[..columns].chunks(S::LANES).zip((0..).step_by(S::LANES)) {
            let place = (column / width * depth + step) * width + column % width;
            simd.store(simd.load_some(part, 0.0), &mut panels[place..]);
        }
    }
    Panels { data: panels, depth, columns }
}

/// The first `len` elements, after making room for them.
fn first(buffer: &mut Vec<f32>, len: usize) -> &mut [f32] {
    if buffer.len() < len {
        buffer.resize(len, 0.0);
    }
    &mut buffer[..len]
}
