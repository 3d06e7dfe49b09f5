//! Blocks of small integers as GGUF files have them: what their bytes mean.
//!
//! An element is `scale * integer - minimum`. In the older formats a block is 32 elements; in the newer ones ("K") it is 256,
//! in parts of 16 or 32 that have small integers of their own for scale and minimum. The layouts are ggml's.

/// A format of blocks. The number says how many bits an integer has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are ggml's")]
pub enum BlockFormat {
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q4K,
    Q5K,
    Q6K,
}

/// A format by a number that is none of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "elements of ggml's type {0} are not read; those that are: F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K, Q6_K"
)]
pub struct UnknownFormat(pub u32);

/// A block, taken apart.
pub(super) struct Block {
    /// The integers, from zero on.
    pub integers: [u8; 256],
    /// What all scales are multiplied by, in half precision.
    pub scale: u16,
    /// What all minima are multiplied by, in half precision; its sign is that of a value to subtract.
    pub minimum: u16,
    /// Of each part.
    pub scales: [u8; 16],
    /// Of each part.
    pub minima: [u8; 16],
}

impl BlockFormat {
    /// Elements of a block.
    pub fn depth(self) -> usize {
        match self {
            BlockFormat::Q4K | BlockFormat::Q5K | BlockFormat::Q6K => 256,
            _ => 32,
        }
    }

    /// Bytes of a block.
    pub fn block_bytes(self) -> usize {
        match self {
            BlockFormat::Q4_0 => 18,
            BlockFormat::Q4_1 => 20,
            BlockFormat::Q5_0 => 22,
            BlockFormat::Q5_1 => 24,
            BlockFormat::Q8_0 => 34,
            BlockFormat::Q4K => 144,
            BlockFormat::Q5K => 176,
            BlockFormat::Q6K => 210,
        }
    }

    /// What is subtracted of each integer.
    pub(super) const fn offset(self) -> i32 {
        match self {
            BlockFormat::Q4_0 => 8,
            BlockFormat::Q5_0 => 16,
            BlockFormat::Q6K => 32,
            BlockFormat::Q8_0 => 128,
            _ => 0,
        }
    }

    /// Takes a block apart.
    ///
    /// # Panics
    /// When it has not [`Self::block_bytes`].
    pub(super) fn take_apart(self, block: &[u8]) -> Block {
        assert_eq!(block.len(), self.block_bytes());
        let half = |at: usize| u16::from_le_bytes([block[at], block[at + 1]]);
        let mut parts = Block { integers: [0; 256], scale: half(0), minimum: 0, scales: [1; 16], minima: [0; 16] };
        let integers = &mut parts.integers;
        match self {
            BlockFormat::Q4_0 => nibbles(&block[2..], integers),
            BlockFormat::Q4_1 => {
                parts.minimum = negative(half(2));
                parts.minima = [1; 16];
                nibbles(&block[4..], integers);
            }
            BlockFormat::Q5_0 => {
                nibbles(&block[6..], integers);
                fifth_bits(&block[2..6], integers);
            }
            BlockFormat::Q5_1 => {
                parts.minimum = negative(half(2));
                parts.minima = [1; 16];
                nibbles(&block[8..], integers);
                fifth_bits(&block[4..8], integers);
            }
            BlockFormat::Q8_0 => {
                integers.iter_mut().zip(&block[2..]).for_each(|(integer, byte)| *integer = byte.wrapping_add(128));
            }
            BlockFormat::Q4K | BlockFormat::Q5K => {
                parts.minimum = half(2);
                (parts.scales, parts.minima) = six_bits(&block[4..16]);
                let low = &block[block.len() - 128..];
                for (index, integers) in integers.chunks_exact_mut(64).enumerate() {
                    nibbles(&low[index * 32..][..32], integers);
                }
                if self == BlockFormat::Q5K {
                    for (index, integers) in integers.chunks_exact_mut(32).enumerate() {
                        let bits = block[16..48].iter().map(|byte| (byte >> index) & 1);
                        integers.iter_mut().zip(bits).for_each(|(integer, bit)| *integer |= bit << 4);
                    }
                }
            }
            BlockFormat::Q6K => {
                (parts.scale, parts.scales) = (half(208), std::array::from_fn(|part| block[192 + part]));
                let halves = integers.chunks_exact_mut(128).enumerate();
                for (index, integers) in halves {
                    let (low, high) = (&block[index * 64..][..64], &block[128 + index * 32..][..32]);
                    nibbles(low, integers);
                    for (quarter, integers) in integers.chunks_exact_mut(32).enumerate() {
                        let bits = high.iter().map(|byte| (byte >> (2 * quarter)) & 3);
                        integers.iter_mut().zip(bits).for_each(|(integer, bits)| *integer |= bits << 4);
                    }
                }
            }
        }
        parts
    }

    /// Writes the elements of whole blocks as floats.
    pub(super) fn read(self, bytes: &[u8], elements: &mut [f32]) {
        let part = if self == BlockFormat::Q6K { 16 } else { 32 };
        let float = |bits: u16| half::f16::from_bits(bits).to_f32();
        for (block, elements) in bytes.chunks_exact(self.block_bytes()).zip(elements.chunks_exact_mut(self.depth())) {
            let block = self.take_apart(block);
            let (scale, minimum) = (float(block.scale), float(block.minimum));
            for (index, elements) in elements.chunks_exact_mut(part).enumerate() {
                let own = match self {
                    BlockFormat::Q6K => f32::from(block.scales[index] as i8),
                    _ => f32::from(block.scales[index]),
                };
                let minimum = minimum * f32::from(block.minima[index]);
                for (element, &integer) in elements.iter_mut().zip(&block.integers[index * part..]) {
                    *element = scale * own * (i32::from(integer) - self.offset()) as f32 - minimum;
                }
            }
        }
    }
}

/// Low halves of bytes, then the high ones.
fn nibbles(bytes: &[u8], integers: &mut [u8]) {
    let bytes = &bytes[..bytes.len().min(integers.len() / 2)];
    for (index, byte) in bytes.iter().enumerate() {
        (integers[index], integers[bytes.len() + index]) = (byte & 15, byte >> 4);
    }
}

/// A bit for each of 32 integers.
fn fifth_bits(bytes: &[u8], integers: &mut [u8]) {
    for (index, integer) in integers.iter_mut().enumerate().take(32) {
        *integer |= ((bytes[index / 8] >> (index % 8)) & 1) << 4;
    }
}

/// Eight scales and eight minima of six bits in twelve bytes: four of each whole, the upper bits beside them the others'.
fn six_bits(bytes: &[u8]) -> ([u8; 16], [u8; 16]) {
    let (mut scales, mut minima) = ([0; 16], [0; 16]);
    for part in 0..4 {
        (scales[part], minima[part]) = (bytes[part] & 63, bytes[part + 4] & 63);
        scales[part + 4] = (bytes[part + 8] & 15) | (bytes[part] >> 6 << 4);
        minima[part + 4] = (bytes[part + 8] >> 4) | (bytes[part + 4] >> 6 << 4);
    }
    (scales, minima)
}

/// The negative of a number in half precision.
fn negative(bits: u16) -> u16 {
    bits ^ 0x8000
}
