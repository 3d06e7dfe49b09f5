//! Products with weights in blocks of small integers: sums of bytes times bytes, scaled once a part.
//!
//! A panel is as many columns as a vector has lanes: a lane for each. Of each column, four integers of consecutive inputs
//! lie in a lane. Their low four bits lie two groups to a vector, their fifth bits eight, their fifth and sixth four; so 32
//! inputs of a panel are four vectors, and one or two more, or eight where integers have eight bits. After a panel's
//! integers come its scales.

use std::marker::PhantomData;
use std::ops::Range;

use super::activations::{LONG, Quantized, SHORT, SUM_DEPTH};
use super::format::BlockFormat;
use super::{Activations, Target, ask_for};
use crate::level::Level;
use crate::memory::Buffer;
use crate::simd::{Simd, Work};

/// Inputs that are packed together.
const UNIT: usize = 32;
/// Inputs in a lane.
const GROUP: usize = 4;

pub(super) struct Blocks {
    format: BlockFormat,
    data: Buffer<u8>,
    depth: usize,
    columns: usize,
    lanes: usize,
}

/// What a kernel knows of its format when it is compiled.
trait Kind {
    const FORMAT: BlockFormat;
    const BITS: u32;
    /// Inputs of a block.
    const DEPTH: usize;
    /// Inputs with a scale of their own in a block.
    const PART: usize;
    /// Whether there are minima.
    const MINIMA: bool;
    /// Whether scales have a sign.
    const SIGNED: bool;

    /// Vectors of a unit.
    const VECTORS: usize = Self::BITS as usize;
    /// Parts of a block.
    const PARTS: usize = Self::DEPTH / Self::PART;
    /// Halves of a header: scale and minimum.
    const HALVES: usize = 1 + Self::MINIMA as usize;
    /// Small scales and minima of a header.
    const SMALL: usize = if Self::PARTS > 1 { Self::PARTS * Self::HALVES } else { 0 };
    const OFFSET: i32 = Self::FORMAT.offset();
}

macro_rules! kinds {
    ($($kind:ident: $bits:literal bits, $depth:ident in parts of $part:literal, minima $minima:literal, signed $signed:literal;)*) => {
        $(struct $kind;

        impl Kind for $kind {
            const FORMAT: BlockFormat = BlockFormat::$kind;
            const BITS: u32 = $bits;
            const DEPTH: usize = $depth;
            const PART: usize = $part;
            const MINIMA: bool = $minima;
            const SIGNED: bool = $signed;
        })*
    };
}

kinds! {
    Q4_0: 4 bits, SHORT in parts of 32, minima false, signed false;
    Q4_1: 4 bits, SHORT in parts of 32, minima true, signed false;
    Q5_0: 5 bits, SHORT in parts of 32, minima false, signed false;
    Q5_1: 5 bits, SHORT in parts of 32, minima true, signed false;
    Q8_0: 8 bits, SHORT in parts of 32, minima false, signed false;
    Q4K: 4 bits, LONG in parts of 32, minima true, signed false;
    Q5K: 5 bits, LONG in parts of 32, minima true, signed false;
    Q6K: 6 bits, LONG in parts of 16, minima false, signed true;
}

/// Evaluates an expression in which `$Kind` is the kind of a format.
macro_rules! with_kind {
    ($format:expr, $Kind:ident => $work:expr) => {{
        macro_rules! of {
            ($kind:ident) => {{
                type $Kind = $kind;
                $work
            }};
        }
        match $format {
            BlockFormat::Q4_0 => of!(Q4_0),
            BlockFormat::Q4_1 => of!(Q4_1),
            BlockFormat::Q5_0 => of!(Q5_0),
            BlockFormat::Q5_1 => of!(Q5_1),
            BlockFormat::Q8_0 => of!(Q8_0),
            BlockFormat::Q4K => of!(Q4K),
            BlockFormat::Q5K => of!(Q5K),
            BlockFormat::Q6K => of!(Q6K),
        }
    }};
}

impl Blocks {
    pub fn pack(level: Level, format: BlockFormat, bytes: &[u8], inputs: usize, outputs: usize) -> Self {
        with_kind!(format, Kind => level.run(Pack::<Kind> { bytes, inputs, outputs, kind: PhantomData }))
    }

    pub fn format(&self) -> BlockFormat {
        self.format
    }

    pub fn bytes(&self) -> usize {
        self.data.len()
    }

    pub fn panel_width(&self) -> usize {
        self.lanes
    }

    pub fn multiply(&self, level: Level, x: &Activations, panels: Range<usize>, target: &Target) {
        with_kind!(self.format, Kind => level.run(Multiply::<Kind> {
            blocks: self,
            x: x.quantized(Kind::DEPTH),
            rows: x.rows(),
            panels,
            target,
            kind: PhantomData,
        }));
    }
}

/// Bytes of a block's integers in a panel.
const fn integer_bytes<K: Kind>(lanes: usize) -> usize {
    K::DEPTH / UNIT * K::VECTORS * lanes * GROUP
}

/// Bytes of a block's scales in a panel.
const fn header_bytes<K: Kind>(lanes: usize) -> usize {
    (K::HALVES * size_of::<u16>() + K::SMALL) * lanes
}

struct Pack<'a, K> {
    bytes: &'a [u8],
    inputs: usize,
    outputs: usize,
    kind: PhantomData<K>,
}

impl<K: Kind> Work for Pack<'_, K> {
    type Output = Blocks;

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> Blocks {
        let Pack { bytes, inputs, outputs, .. } = self;
        let (format, lanes, blocks) = (K::FORMAT, S::LANES, inputs / K::DEPTH);
        let (integers, headers) = (integer_bytes::<K>(lanes), header_bytes::<K>(lanes));
        let panel_bytes = blocks * (integers + headers);
        let mut data = Buffer::zeros(outputs.div_ceil(lanes) * panel_bytes);
        let row_bytes = blocks * format.block_bytes();
        for (row, bytes) in bytes.chunks_exact(row_bytes).enumerate() {
            let panel = &mut data[row / lanes * panel_bytes..][..panel_bytes];
            let (all_integers, all_headers) = panel.split_at_mut(blocks * integers);
            for (index, block) in bytes.chunks_exact(format.block_bytes()).enumerate() {
                let block = format.take_apart(block);
                let into = &mut all_integers[index * integers..][..integers];
                let units = block.integers.chunks_exact(UNIT).zip(into.chunks_exact_mut(K::VECTORS * lanes * GROUP));
                units.for_each(|(unit, into)| pack_unit::<K>(unit, into, lanes, row % lanes));
                let into = &mut all_headers[index * headers..][..headers];
                for (half, value) in [block.scale, block.minimum].into_iter().enumerate().take(K::HALVES) {
                    let at = (half * lanes + row % lanes) * size_of::<u16>();
                    into[at..at + size_of::<u16>()].copy_from_slice(&value.to_le_bytes());
                }
                let small = block.scales[..K::PARTS].iter().chain(&block.minima[..K::PARTS]).take(K::SMALL);
                for (part, value) in small.enumerate() {
                    into[(K::HALVES * size_of::<u16>() + part) * lanes + row % lanes] = *value;
                }
            }
        }
        Blocks { format, data, depth: inputs, columns: outputs, lanes }
    }
}

/// Packs 32 integers of one column into its lane of a unit's vectors.
fn pack_unit<K: Kind>(unit: &[u8], into: &mut [u8], lanes: usize, lane: usize) {
    let vector = lanes * GROUP;
    for (index, &integer) in unit.iter().enumerate() {
        let (group, byte) = (index / GROUP, lane * GROUP + index % GROUP);
        if K::BITS == 8 {
            into[group * vector + byte] = integer;
            continue;
        }
        into[group / 2 * vector + byte] |= (integer & 15) << (4 * (group % 2));
        match K::BITS {
            5 => into[4 * vector + byte] |= (integer >> 4) << group,
            6 => into[(4 + group / 4) * vector + byte] |= (integer >> 4) << (2 * (group % 4)),
            _ => {}
        }
    }
}

struct Multiply<'a, K> {
    blocks: &'a Blocks,
    x: &'a Quantized,
    rows: usize,
    panels: Range<usize>,
    target: &'a Target<'a>,
    kind: PhantomData<K>,
}

/// Rows that pass below one panel before the next panel's turn, in bytes: they are to stay in the second cache.
const ROWS_BYTES: usize = 256 << 10;

impl<K: Kind> Work for Multiply<'_, K> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Multiply { blocks: Blocks { data, depth, columns, lanes, .. }, x, rows, panels, target, .. } = self;
        let (depth, columns) = (*depth, *columns);
        assert!(*lanes == S::LANES, "packed for other instructions");
        let count = depth / K::DEPTH;
        let panel_bytes = count * (integer_bytes::<K>(S::LANES) + header_bytes::<K>(S::LANES));
        assert!(data.len() >= panels.end * panel_bytes, "weights are missing");
        assert!(x.values.len() >= rows * depth && x.scales.len() >= rows * count, "rows are missing");
        assert!(x.sums.len() >= rows * depth / SUM_DEPTH, "rows are missing");
        let together = (ROWS_BYTES / depth).next_multiple_of(S::BLOCK_ROWS).max(S::BLOCK_ROWS);
        for begin in (0..rows).step_by(together) {
            let end = rows.min(begin + together);
            for panel in panels.clone() {
                let weights = &data[panel * panel_bytes..][..panel_bytes];
                let (mut row, column) = (begin, panel * S::LANES);
                while row < end {
                    let tile = Tile::<K> { weights, x, depth, row, column, target, kind: PhantomData };
                    row += match end - row {
                        8.. if S::BLOCK_ROWS >= 8 => simd.vectorize(Of::<K, 8>(tile)),
                        4.. => simd.vectorize(Of::<K, 4>(tile)),
                        2.. => simd.vectorize(Of::<K, 2>(tile)),
                        _ => simd.vectorize(Of::<K, 1>(tile)),
                    };
                }
            }
        }
        debug_assert!(panels.end * S::LANES < columns + S::LANES);
    }
}

struct Tile<'a, K> {
    /// A panel.
    weights: &'a [u8],
    x: &'a Quantized,
    depth: usize,
    row: usize,
    column: usize,
    target: &'a Target<'a>,
    kind: PhantomData<K>,
}

/// A tile of `R` rows.
struct Of<'a, K, const R: usize>(Tile<'a, K>);

impl<K: Kind, const R: usize> Work for Of<'_, K, R> {
    type Output = usize;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> usize {
        let Of(Tile { weights, x, depth, row, column, target, .. }) = self;
        let blocks = depth / K::DEPTH;
        let (integers, headers) = (integer_bytes::<K>(S::LANES), header_bytes::<K>(S::LANES));
        assert!(weights.len() >= blocks * (integers + headers) && x.values.len() >= (row + R) * depth);
        assert!(x.scales.len() >= (row + R) * blocks && x.sums.len() >= (row + R) * (depth / SUM_DEPTH));
        // The first row's; a row further is `depth` values, and so on.
        let values = x.values[row * depth..].as_ptr();
        let scales = &x.scales[row * blocks..];
        let sums = &x.sums[row * (depth / SUM_DEPTH)..];
        let mut totals = [simd.splat(0.0); R];
        for block in 0..blocks {
            let from = weights[block * integers..].as_ptr();
            let header = weights[blocks * integers + block * headers..].as_ptr();
            let small = header.wrapping_add(K::HALVES * size_of::<u16>() * S::LANES);
            ask_for(simd, header, headers);
            let (mut products, mut minima) = ([simd.splat(0.0); R], [simd.splat(0.0); R]);
            for unit in 0..K::DEPTH / UNIT {
                let vectors = from.wrapping_add(unit * K::VECTORS * S::LANES * GROUP);
                let at = block * K::DEPTH + unit * UNIT;
                ask_for(simd, vectors, K::VECTORS * S::LANES * GROUP);
                for part in 0..UNIT / K::PART {
                    // SAFETY: each row has all values and sums, as asserted.
                    let own = unsafe { sums_of::<K, R>(sums, depth, at + part * K::PART) };
                    let mut sums = [simd.splat_int(0); R];
                    if K::OFFSET != 0 {
                        for (sum, own) in sums.iter_mut().zip(own) {
                            *sum = simd.splat_int(-K::OFFSET * own);
                        }
                    }
                    let values = values.wrapping_add(at);
                    if K::PART == UNIT || part == 0 {
                        // SAFETY: the panel has all vectors of all units, and each row all values, as asserted.
                        unsafe {
                            let groups = groups_0_to_3::<K, S>(simd, vectors);
                            add_groups::<K, S, R>(simd, &mut sums, groups, values, depth);
                        }
                    }
                    if K::PART == UNIT || part == 1 {
                        // SAFETY: likewise.
                        unsafe {
                            let groups = groups_4_to_7::<K, S>(simd, vectors);
                            add_groups::<K, S, R>(simd, &mut sums, groups, values.wrapping_add(UNIT / 2), depth);
                        }
                    }
                    let part = unit * (UNIT / K::PART) + part;
                    if K::PARTS == 1 {
                        for (product, sum) in products.iter_mut().zip(sums) {
                            *product = simd.to_float(sum);
                        }
                    } else {
                        // SAFETY: the header has a small scale for each part.
                        let scale = unsafe {
                            match K::SIGNED {
                                true => simd.load_signed_at(small.add(part * S::LANES)),
                                false => simd.load_unsigned_at(small.add(part * S::LANES)),
                            }
                        };
                        for (product, sum) in products.iter_mut().zip(sums) {
                            *product = simd.mul_add(simd.to_float(sum), scale, *product);
                        }
                    }
                    if K::MINIMA {
                        let small = match K::PARTS {
                            1 => simd.splat(1.0),
                            // SAFETY: and a small minimum, after these.
                            _ => unsafe { simd.load_unsigned_at(small.add((K::PARTS + part) * S::LANES)) },
                        };
                        for (minimum, own) in minima.iter_mut().zip(own) {
                            *minimum = simd.mul_add(small, simd.splat(own as f32), *minimum);
                        }
                    }
                }
            }
            // SAFETY: the header begins with as many halves.
            let scale = unsafe { simd.load_half_at(header.cast()) };
            for (row, (total, product)) in totals.iter_mut().zip(products).enumerate() {
                // SAFETY: each row has a scale for each block, as asserted.
                let own = simd.splat(unsafe { *scales.get_unchecked(row * blocks + block) });
                let mut product = simd.mul(product, scale);
                if K::MINIMA {
                    // SAFETY: with minima, the header has two vectors of halves.
                    let minimum = unsafe { simd.load_half_at(header.cast::<u16>().add(S::LANES)) };
                    product = simd.sub(product, simd.mul(minima[row], minimum));
                }
                *total = simd.mul_add(product, own, *total);
            }
        }
        for (index, total) in totals.into_iter().enumerate() {
            // SAFETY: these columns are the caller's alone, by the promise of `Matrix::multiply`.
            unsafe { target.write(simd, row + index, column, total) };
        }
        R
    }
}

// What follows is functions, and no closures: what is not inlined into the function that has the instructions calls each of
// them as a function, and is a hundred times slower.

/// The sums of a part's values in each row.
///
/// # Safety
/// `sums` has those of `R` rows of `depth` values.
#[inline(always)]
unsafe fn sums_of<K: Kind, const R: usize>(sums: &[i32], depth: usize, at: usize) -> [i32; R] {
    let mut all = [0; R];
    for (row, all) in all.iter_mut().enumerate() {
        let first = row * (depth / SUM_DEPTH) + at / SUM_DEPTH;
        for index in 0..K::PART / SUM_DEPTH {
            // SAFETY: the caller's promise.
            *all += unsafe { *sums.get_unchecked(first + index) };
        }
    }
    all
}

/// Adds the products of four groups of weights with those of each row, whose values lie `depth` apart.
///
/// # Safety
/// There are 16 values in each of `R` rows.
#[inline(always)]
unsafe fn add_groups<K: Kind, S: Simd, const R: usize>(
    simd: S,
    sums: &mut [S::I; R],
    groups: [S::I; 4],
    values: *const i8,
    depth: usize,
) {
    for (index, weights) in groups.into_iter().enumerate() {
        for (row, sum) in sums.iter_mut().enumerate() {
            // SAFETY: the caller's promise.
            let four = unsafe { values.add(row * depth + index * GROUP).cast::<i32>().read_unaligned() };
            *sum = match K::BITS {
                8 => simd.dot_bytes::<8>(*sum, weights, simd.splat_int(four)),
                _ => simd.dot_bytes::<6>(*sum, weights, simd.splat_int(four)),
            };
        }
    }
}

/// The vector of a unit with this number.
///
/// # Safety
/// It is there.
#[inline(always)]
unsafe fn vector<S: Simd>(simd: S, unit: *const u8, number: usize) -> S::I {
    // SAFETY: the caller's promise.
    unsafe { simd.load_int_at(unit.add(number * S::LANES * GROUP).cast()) }
}

/// The weights of a unit's first four groups.
///
/// # Safety
/// The unit's vectors are there.
#[inline(always)]
unsafe fn groups_0_to_3<K: Kind, S: Simd>(simd: S, unit: *const u8) -> [S::I; 4] {
    // SAFETY: the caller's promise.
    unsafe {
        let (first, second) = (vector(simd, unit, 0), vector(simd, unit, 1));
        match K::BITS {
            8 => [first, second, vector(simd, unit, 2), vector(simd, unit, 3)],
            5 => {
                let high = vector(simd, unit, 4);
                let bits = [
                    simd.shift_left::<4>(high),
                    simd.shift_left::<3>(high),
                    simd.shift_left::<2>(high),
                    simd.shift_left::<1>(high),
                ];
                with_bits(simd, nibbles(simd, first, second), bits, 0x1010_1010)
            }
            6 => with_bits(simd, nibbles(simd, first, second), pairs(simd, vector(simd, unit, 4)), 0x3030_3030),
            _ => nibbles(simd, first, second),
        }
    }
}

/// The weights of its last four.
///
/// # Safety
/// The unit's vectors are there.
#[inline(always)]
unsafe fn groups_4_to_7<K: Kind, S: Simd>(simd: S, unit: *const u8) -> [S::I; 4] {
    // SAFETY: the caller's promise.
    unsafe {
        if K::BITS == 8 {
            return [vector(simd, unit, 4), vector(simd, unit, 5), vector(simd, unit, 6), vector(simd, unit, 7)];
        }
        let (first, second) = (vector(simd, unit, 2), vector(simd, unit, 3));
        match K::BITS {
            5 => {
                let high = vector(simd, unit, 4);
                let bits =
                    [high, simd.shift_right::<1>(high), simd.shift_right::<2>(high), simd.shift_right::<3>(high)];
                with_bits(simd, nibbles(simd, first, second), bits, 0x1010_1010)
            }
            6 => with_bits(simd, nibbles(simd, first, second), pairs(simd, vector(simd, unit, 5)), 0x3030_3030),
            _ => nibbles(simd, first, second),
        }
    }
}

/// The halves of two vectors' bytes, the low ones first.
#[inline(always)]
fn nibbles<S: Simd>(simd: S, first: S::I, second: S::I) -> [S::I; 4] {
    let low = simd.splat_int(0x0f0f_0f0f);
    [
        simd.and_int(first, low),
        simd.and_int(simd.shift_right::<4>(first), low),
        simd.and_int(second, low),
        simd.and_int(simd.shift_right::<4>(second), low),
    ]
}

/// Four groups' fifth and sixth bits, which lie together, each where it belongs.
#[inline(always)]
fn pairs<S: Simd>(simd: S, high: S::I) -> [S::I; 4] {
    [simd.shift_left::<4>(high), simd.shift_left::<2>(high), high, simd.shift_right::<2>(high)]
}

/// Puts the bits that are in `mask` above nibbles.
#[inline(always)]
fn with_bits<S: Simd>(simd: S, mut nibbles: [S::I; 4], bits: [S::I; 4], mask: i32) -> [S::I; 4] {
    let mask = simd.splat_int(mask);
    for (nibbles, bits) in nibbles.iter_mut().zip(bits) {
        *nibbles = simd.or_int(*nibbles, simd.and_int(bits, mask));
    }
    nibbles
}
