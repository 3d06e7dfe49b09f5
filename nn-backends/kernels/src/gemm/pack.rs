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

/// Packs the transpose of `rows` of `depth` elements, one in every `stride` of `data`, into `panels`: each becomes a column.
#[inline(always)]
pub(crate) fn pack_columns<S: Simd>(data: &[f32], rows: usize, stride: usize, depth: usize, panels: &mut Vec<f32>) {
    let width = panel_width::<S>();
    panels.clear();
    panels.resize(rows.next_multiple_of(width) * depth, 0.0);
    for (column, row) in data.chunks(stride).take(rows).enumerate() {
        let panel = &mut panels[column / width * width * depth..][..width * depth];
        for (place, &element) in panel.chunks_exact_mut(width).zip(&row[..depth]) {
            place[column % width] = element;
        }
    }
}

/// Packs `depth` rows of `columns` elements, one in every `stride` of `data`, into `panels`.
#[inline(always)]
pub(crate) fn pack_rows<S: Simd>(data: &[f32], depth: usize, stride: usize, columns: usize, panels: &mut Vec<f32>) {
    let width = panel_width::<S>();
    panels.clear();
    panels.resize(columns.next_multiple_of(width) * depth, 0.0);
    for (step, row) in data.chunks(stride).take(depth).enumerate() {
        for (panel, part) in row[..columns].chunks(width).enumerate() {
            panels[(panel * depth + step) * width..][..part.len()].copy_from_slice(part);
        }
    }
}
