//! Products with weights that are floats, of 32 bits or 16.

use std::ops::Range;

use super::{Activations, Storage, Target, ask_for};
use crate::level::Level;
use crate::memory::Buffer;
use crate::simd::{Simd, TILE_VECTORS, Work};

/// Weights in panels of a tile's width, each with all of the depth, row after row.
pub(super) struct Floats {
    data: Data,
    depth: usize,
    columns: usize,
    width: usize,
}

enum Data {
    F32(Buffer<f32>),
    F16(Buffer<Half>),
    BF16(Buffer<Upper>),
}

/// A weight, as it lies in memory.
pub(crate) trait Element: bytemuck::Pod {
    /// Loads `LANES` of them.
    /// # Safety
    /// As many can be read from `from`.
    unsafe fn load<S: Simd>(simd: S, from: *const Self) -> S::F;
}

/// A 16-bit float.
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(transparent)]
pub(crate) struct Half(pub u16);

/// The upper half of a 32-bit float.
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(transparent)]
pub(crate) struct Upper(pub u16);

impl Element for f32 {
    #[inline(always)]
    unsafe fn load<S: Simd>(simd: S, from: *const f32) -> S::F {
        // SAFETY: the caller's promise.
        unsafe { simd.load_at(from) }
    }
}

impl Element for Half {
    #[inline(always)]
    unsafe fn load<S: Simd>(simd: S, from: *const Half) -> S::F {
        // SAFETY: the caller's promise.
        unsafe { simd.load_half_at(from.cast()) }
    }
}

impl Element for Upper {
    #[inline(always)]
    unsafe fn load<S: Simd>(simd: S, from: *const Upper) -> S::F {
        // SAFETY: the caller's promise.
        unsafe { simd.load_upper_at(from.cast()) }
    }
}

impl Floats {
    pub fn pack(level: Level, storage: Storage, bytes: &[u8], inputs: usize, outputs: usize) -> Self {
        struct Width;
        impl Work for Width {
            type Output = usize;

            #[inline(always)]
            fn run<S: Simd>(self, _: S) -> usize {
                S::LANES * TILE_VECTORS
            }
        }
        let width = level.run(Width);
        let packed = |len| Buffer::zeros(len);
        let len = outputs.next_multiple_of(width) * inputs;
        let data = match storage {
            Storage::F16 => {
                let mut data = Buffer::zeros(len);
                let half = |bytes: [u8; 2]| Half(u16::from_le_bytes(bytes));
                transpose(bytes, inputs, width, &mut data, half);
                Data::F16(data)
            }
            Storage::BF16 => {
                let mut data = Buffer::zeros(len);
                let upper = |bytes: [u8; 2]| Upper(u16::from_le_bytes(bytes));
                transpose(bytes, inputs, width, &mut data, upper);
                Data::BF16(data)
            }
            _ => {
                let mut data = packed(len);
                transpose(bytes, inputs, width, &mut data, f32::from_le_bytes);
                Data::F32(data)
            }
        };
        Floats { data, depth: inputs, columns: outputs, width }
    }

    pub fn bytes(&self) -> usize {
        match &self.data {
            Data::F32(data) => size_of_val(&**data),
            Data::F16(data) => size_of_val(&**data),
            Data::BF16(data) => size_of_val(&**data),
        }
    }

    pub fn panel_width(&self) -> usize {
        self.width
    }

    pub fn multiply(&self, level: Level, x: &Activations, panels: Range<usize>, target: &Target) {
        let Floats { depth, columns, .. } = *self;
        let x = x.floats();
        match &self.data {
            Data::F32(data) => level.run(Multiply { data, depth, columns, x, panels, target }),
            Data::F16(data) => level.run(Multiply { data, depth, columns, x, panels, target }),
            Data::BF16(data) => level.run(Multiply { data, depth, columns, x, panels, target }),
        }
    }
}

/// Writes rows of `inputs` elements as columns of panels.
fn transpose<E: Copy, const N: usize>(
    bytes: &[u8],
    inputs: usize,
    width: usize,
    panels: &mut [E],
    element: impl Fn([u8; N]) -> E,
) {
    let (elements, _) = bytes.as_chunks::<N>();
    for (panel, rows) in panels.chunks_exact_mut(width * inputs).zip(elements.chunks(width * inputs)) {
        // A few columns of the panel at a time: their rows are read along, and the panel is written within a cache line.
        for (step, out) in panel.chunks_exact_mut(width).enumerate() {
            for (out, row) in out.iter_mut().zip(rows.chunks_exact(inputs)) {
                *out = element(row[step]);
            }
        }
    }
}

struct Multiply<'a, E> {
    data: &'a [E],
    depth: usize,
    columns: usize,
    x: &'a [f32],
    panels: Range<usize>,
    target: &'a Target<'a>,
}

/// Bytes of rows that pass below one panel before the next panel's turn: they are to stay in the second cache.
const BLOCK_BYTES: usize = 192 << 10;

impl<E: Element> Work for Multiply<'_, E> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Multiply { data, depth, columns, x, panels, target } = self;
        let width = S::LANES * TILE_VECTORS;
        let block_rows = (BLOCK_BYTES / (size_of::<f32>() * depth)).next_multiple_of(8).max(8);
        assert!(data.len() >= panels.end * width * depth, "weights are missing");
        for (block, rows) in x.chunks(block_rows * depth).enumerate() {
            for panel in panels.clone() {
                let weights = &data[panel * width * depth..][..width * depth];
                let mut row = block * block_rows;
                let mut left = rows;
                while !left.is_empty() {
                    let column = panel * width;
                    let tile = Tile { weights, rows: left, depth, row, column, columns, target };
                    let done = match left.len() / depth {
                        8.. => simd.vectorize(Of::<E, 8>(tile)),
                        4.. => simd.vectorize(Of::<E, 4>(tile)),
                        2.. => simd.vectorize(Of::<E, 2>(tile)),
                        _ => simd.vectorize(Of::<E, 1>(tile)),
                    };
                    left = &left[done * depth..];
                    row += done;
                }
            }
        }
    }
}

struct Tile<'a, E> {
    weights: &'a [E],
    rows: &'a [f32],
    depth: usize,
    row: usize,
    column: usize,
    columns: usize,
    target: &'a Target<'a>,
}

/// A tile of `R` rows.
struct Of<'a, E, const R: usize>(Tile<'a, E>);

impl<E: Element, const R: usize> Work for Of<'_, E, R> {
    type Output = usize;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> usize {
        let Of(Tile { weights, rows, depth, row, column, columns, target }) = self;
        let width = S::LANES * TILE_VECTORS;
        assert!(rows.len() >= R * depth && weights.len() >= depth * width);
        let mut totals = [[simd.splat(0.0); TILE_VECTORS]; R];
        let mut from = weights.as_ptr();
        for step in 0..depth {
            ask_for(simd, from, width * size_of::<E>());
            // SAFETY: `step` is less than `depth`: there are so many rows of weights, and so many elements in each row.
            unsafe {
                let mut right = [simd.splat(0.0); TILE_VECTORS];
                for (vector, right) in right.iter_mut().enumerate() {
                    *right = E::load(simd, from.add(vector * S::LANES));
                }
                for (index, totals) in totals.iter_mut().enumerate() {
                    let left = simd.splat(*rows.get_unchecked(index * depth + step));
                    for (total, right) in totals.iter_mut().zip(right) {
                        *total = simd.mul_add(left, right, *total);
                    }
                }
                from = from.add(width);
            }
        }
        for (index, totals) in totals.into_iter().enumerate() {
            for (vector, total) in totals.into_iter().enumerate() {
                let column = column + vector * S::LANES;
                if column < columns {
                    // SAFETY: these columns are the caller's alone, by the promise of `Matrix::multiply`.
                    unsafe { target.write(simd, row + index, column, total) };
                }
            }
        }
        R
    }
}
