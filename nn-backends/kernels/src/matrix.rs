//! [`Matrix`]: the weights of a linear map as a decoder's file has them, packed once, multiplied by few rows or by many.
//!
//! Weights stay as small as they are stored, for a step that answers one token reads them all: they become numbers in the
//! registers, on their way to a product. Threads share a product by its columns, in units called panels. What an element
//! becomes does not depend, bit for bit, on the rows beside it, nor on who computes which panel.

mod activations;
mod blocks;
mod floats;
mod format;
mod target;

pub use activations::Activations;
pub(crate) use floats::{Element, Half};
pub use format::{BlockFormat, UnknownFormat};
pub use target::Target;

use std::ops::Range;

use blocks::Blocks;
use floats::Floats;

use crate::level::Level;
use crate::simd::Simd;

/// How the elements of a matrix are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storage {
    /// 32-bit floats.
    F32,
    /// 16-bit floats.
    F16,
    /// The upper halves of 32-bit floats.
    BF16,
    /// Blocks of small integers with common scales.
    Blocks(BlockFormat),
}

impl Storage {
    /// Bytes of `elements` of them, if they are whole blocks and can be counted.
    pub fn bytes(self, elements: usize) -> Option<usize> {
        match self {
            Storage::F32 => elements.checked_mul(4),
            Storage::F16 | Storage::BF16 => elements.checked_mul(2),
            Storage::Blocks(format) => {
                let blocks = elements / format.depth();
                elements.is_multiple_of(format.depth()).then(|| blocks.checked_mul(format.block_bytes()))?
            }
        }
    }

    /// Writes `elements.len()` elements, stored in `bytes` from their start, as floats.
    ///
    /// # Panics
    /// When there are not as many bytes as [`Self::bytes`] says.
    pub fn read(self, bytes: &[u8], elements: &mut [f32]) {
        assert_eq!(self.bytes(elements.len()), Some(bytes.len()), "bytes of {} elements", elements.len());
        match self {
            Storage::F32 => {
                let (floats, _) = bytes.as_chunks();
                elements.iter_mut().zip(floats).for_each(|(element, bytes)| *element = f32::from_le_bytes(*bytes));
            }
            Storage::F16 | Storage::BF16 => {
                let half = |bits: u16| match self {
                    Storage::F16 => half::f16::from_bits(bits).to_f32(),
                    _ => f32::from_bits(u32::from(bits) << 16),
                };
                let (halves, _) = bytes.as_chunks();
                elements
                    .iter_mut()
                    .zip(halves)
                    .for_each(|(element, bytes)| *element = half(u16::from_le_bytes(*bytes)));
            }
            Storage::Blocks(format) => format.read(bytes, elements),
        }
    }
}

/// Weights, packed for one level of instructions.
pub struct Matrix {
    level: Level,
    inputs: usize,
    outputs: usize,
    packed: Packed,
}

enum Packed {
    Floats(Floats),
    Blocks(Blocks),
}

impl Matrix {
    /// Packs the matrix that `bytes` holds row by row, a row of `inputs` elements for each of the `outputs`.
    ///
    /// # Panics
    /// When there is nothing in it, when a row is no whole number of blocks, or when there are not as many bytes.
    pub fn new(level: Level, storage: Storage, bytes: &[u8], inputs: usize, outputs: usize) -> Self {
        assert!(inputs > 0 && outputs > 0, "a matrix of {outputs} rows of {inputs}");
        let row = storage.bytes(inputs).expect("rows are whole blocks");
        assert_eq!(bytes.len(), row * outputs, "bytes of {outputs} rows of {inputs}");
        let packed = match storage {
            Storage::Blocks(format) => Packed::Blocks(Blocks::pack(level, format, bytes, inputs, outputs)),
            _ => Packed::Floats(Floats::pack(level, storage, bytes, inputs, outputs)),
        };
        Matrix { level, inputs, outputs, packed }
    }

    /// Columns of what goes in.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Columns of what comes out.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Bytes of memory that the weights take.
    pub fn bytes(&self) -> usize {
        match &self.packed {
            Packed::Floats(floats) => floats.bytes(),
            Packed::Blocks(blocks) => blocks.bytes(),
        }
    }

    /// In how many units a product can be divided.
    pub fn panels(&self) -> usize {
        self.outputs.div_ceil(self.panel_width())
    }

    /// Columns of each unit, the last one's apart.
    pub fn panel_width(&self) -> usize {
        match &self.packed {
            Packed::Floats(floats) => floats.panel_width(),
            Packed::Blocks(blocks) => blocks.panel_width(),
        }
    }

    /// In what form this takes its input.
    pub fn takes(&self) -> Option<BlockFormat> {
        match &self.packed {
            Packed::Floats(_) => None,
            Packed::Blocks(blocks) => Some(blocks.format()),
        }
    }

    /// Multiplies the rows of `x` by the columns of these panels, into the same columns of `target`.
    ///
    /// # Panics
    /// When `x` has not been made for a matrix like this, or `target` for a product like this.
    ///
    /// # Safety
    /// No other thread multiplies these panels into `target` meanwhile.
    pub unsafe fn multiply(&self, x: &Activations, panels: Range<usize>, target: &Target) {
        assert!(x.inputs() == self.inputs && panels.end <= self.panels(), "rows of {} inputs", self.inputs);
        assert!(target.fits(x.rows(), self.outputs), "{} rows of {} outputs", x.rows(), self.outputs);
        match &self.packed {
            Packed::Floats(floats) => floats.multiply(self.level, x, panels, target),
            Packed::Blocks(blocks) => blocks.multiply(self.level, x, panels, target),
        }
    }
}

/// How far ahead of their use weights are asked for: many times what passes while memory answers, since a thread that asks
/// for more at once is given more, and little beside a second cache. Panels follow each other in memory, so that what lies
/// ahead of the last weights of one are the next one's.
const AHEAD_BYTES: usize = 32 << 10;
/// What memory brings at once.
const LINE_BYTES: usize = 64;

/// Asks for the weights that lie ahead of the `bytes` from `here` on.
#[inline(always)]
fn ask_for<S: Simd, N>(simd: S, here: *const N, bytes: usize) {
    for line in (0..bytes).step_by(LINE_BYTES) {
        simd.prefetch_early(here.wrapping_byte_add(AHEAD_BYTES + line));
    }
}

#[cfg(test)]
mod tests;
