//! The common face of the vector instructions: what the kernels are written over.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod portable;

#[cfg(target_arch = "x86_64")]
pub(crate) use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) use avx512::Avx512;
pub(crate) use portable::Portable;

/// Something to do with vector instructions. `run` must be `#[inline(always)]`, or it is compiled without them.
pub(crate) trait Work {
    /// What comes of it.
    type Output;
    /// Does it.
    fn run<S: Simd>(self, simd: S) -> Self::Output;
}

/// Vector instructions. A value is a token: whoever has one is on a machine that has them, so that calling is safe.
///
/// Implementations mark everything `#[inline(always)]`: the calls vanish in the function that has the instructions.
pub(crate) trait Simd: Copy {
    /// Elements of a vector, 16 at most.
    const LANES: usize;
    /// Rows of the largest tile of a product with weights in blocks.
    const BLOCK_ROWS: usize;
    /// Rows of the largest tile of a matrix product whose sums fit into registers, [`TILE_ROWS_MAX`] at most.
    const TILE_ROWS: usize;
    /// Values of an activation or weight in 8 bits that one [`Self::dot`] takes together, as a unit of 32 bits.
    const GROUP: usize;
    /// Whether a unit holds activations as they are, from 0 to 255, instead of with their zero subtracted.
    const UNSIGNED: bool;

    /// `LANES` of f32.
    type F: Copy;
    /// `LANES` of i32.
    type I: Copy;

    /// Does `work` in a function that is compiled with these instructions.
    fn vectorize<W: Work>(self, work: W) -> W::Output;

    /// Loads a vector.
    /// # Safety
    /// `LANES` elements can be read from `from`.
    unsafe fn load_at(self, from: *const f32) -> Self::F;
    /// Stores a vector.
    /// # Safety
    /// `LANES` elements can be written to `to`.
    unsafe fn store_at(self, x: Self::F, to: *mut f32);
    /// Loads a vector.
    /// # Safety
    /// `LANES` elements can be read from `from`.
    unsafe fn load_int_at(self, from: *const i32) -> Self::I;
    /// Stores a vector.
    /// # Safety
    /// `LANES` elements can be written to `to`.
    unsafe fn store_int_at(self, x: Self::I, to: *mut i32);

    /// `x` in each lane.
    fn splat(self, x: f32) -> Self::F;
    /// `x` in each lane.
    fn splat_int(self, x: i32) -> Self::I;
    fn add(self, a: Self::F, b: Self::F) -> Self::F;
    fn sub(self, a: Self::F, b: Self::F) -> Self::F;
    fn mul(self, a: Self::F, b: Self::F) -> Self::F;
    fn div(self, a: Self::F, b: Self::F) -> Self::F;
    fn max(self, a: Self::F, b: Self::F) -> Self::F;
    fn min(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a * b + c`, rounded once where there is an instruction for it.
    fn mul_add(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// To the nearest integer, ties to even, for magnitudes up to 2^22.
    fn round(self, x: Self::F) -> Self::F;
    /// `x * 2^power`, where `power` is an integer from -126 to 127.
    fn scale(self, x: Self::F, power: Self::F) -> Self::F;
    /// The sum of all lanes.
    fn sum(self, x: Self::F) -> f32;
    /// The largest of all lanes.
    fn largest(self, x: Self::F) -> f32;

    /// Integers as floats, rounded.
    fn to_float(self, x: Self::I) -> Self::F;
    /// Floats that are integers, as integers.
    fn to_int(self, x: Self::F) -> Self::I;
    fn sub_int(self, a: Self::I, b: Self::I) -> Self::I;
    /// The low 32 bits of the product.
    fn mul_int(self, a: Self::I, b: Self::I) -> Self::I;
    /// `sum` plus, in each lane, the products of the values in the units `activations` and `weights`.
    fn dot(self, sum: Self::I, activations: Self::I, weights: Self::I) -> Self::I;
    /// Stores `LANES` activations from 0 to 255, `zero` subtracted unless `UNSIGNED`, as `LANES / GROUP` units.
    /// # Safety
    /// `LANES / GROUP` elements can be written to `to`.
    unsafe fn store_units_at(self, x: Self::I, zero: Self::I, to: *mut i32);

    /// Each bit that both have.
    fn and_int(self, a: Self::I, b: Self::I) -> Self::I;
    /// Each bit that either has.
    fn or_int(self, a: Self::I, b: Self::I) -> Self::I;
    /// Lanes shifted by so many bits to the right, zeros coming in.
    fn shift_right<const BITS: u32>(self, x: Self::I) -> Self::I;
    /// Lanes shifted by so many bits to the left.
    fn shift_left<const BITS: u32>(self, x: Self::I) -> Self::I;
    /// `sum` plus, in each lane, the products of its four unsigned bytes in `weights`, of so many bits at most, with the four
    /// signed ones in `activations`, none of which is -128. Exact.
    fn dot_bytes<const BITS: u32>(self, sum: Self::I, weights: Self::I, activations: Self::I) -> Self::I;
    /// Loads unsigned bytes as floats.
    /// # Safety
    /// `LANES` bytes can be read from `from`.
    unsafe fn load_unsigned_at(self, from: *const u8) -> Self::F;
    /// Loads signed bytes as floats.
    /// # Safety
    /// `LANES` bytes can be read from `from`.
    unsafe fn load_signed_at(self, from: *const u8) -> Self::F;
    /// Loads half-precision floats, wherever they lie.
    /// # Safety
    /// `LANES` elements can be read from `from`.
    unsafe fn load_half_at(self, from: *const u16) -> Self::F;
    /// Loads floats of which the upper halves are there (bfloat16), wherever they lie.
    /// # Safety
    /// `LANES` elements can be read from `from`.
    unsafe fn load_upper_at(self, from: *const u16) -> Self::F;

    /// Has the cache line at `from`, wherever that is, on its way to the first cache.
    fn prefetch<N>(self, from: *const N);
    /// The same, to the second cache alone, which has room for what is used much later.
    fn prefetch_early<N>(self, from: *const N);

    /// Transposes `rows` rows of `LANES` elements, `from_stride` apart and `LANES` of them at most, into `LANES` rows of
    /// `LANES` elements, `to_stride` apart, filled up with zeros to the right.
    /// # Safety
    /// As many can be read from `from`, and written to `to`.
    #[inline(always)]
    unsafe fn transpose_at(self, from: *const f32, from_stride: usize, rows: usize, to: *mut f32, to_stride: usize) {
        for (place, row) in (0..Self::LANES).flat_map(|place| (0..Self::LANES).map(move |row| (place, row))) {
            // SAFETY: both lie in what the caller promises.
            unsafe {
                let x = if row < rows { *from.add(row * from_stride + place) } else { 0.0 };
                *to.add(place * to_stride + row) = x;
            }
        }
    }

    /// Loads the first `LANES` elements.
    #[inline(always)]
    fn load(self, from: &[f32]) -> Self::F {
        assert!(from.len() >= Self::LANES);
        // SAFETY: there are as many.
        unsafe { self.load_at(from.as_ptr()) }
    }

    /// Stores to the first `LANES` elements.
    #[inline(always)]
    fn store(self, x: Self::F, to: &mut [f32]) {
        assert!(to.len() >= Self::LANES);
        // SAFETY: there are as many.
        unsafe { self.store_at(x, to.as_mut_ptr()) }
    }

    /// Loads at most `LANES` elements; the lanes that are left are `fill`.
    #[inline(always)]
    fn load_some(self, from: &[f32], fill: f32) -> Self::F {
        if from.len() >= Self::LANES {
            return self.load(from);
        }
        let mut lanes = [fill; LANES_MAX];
        lanes[..from.len()].copy_from_slice(from);
        self.load(&lanes)
    }

    /// Stores to at most `LANES` elements, and drops what does not fit.
    #[inline(always)]
    fn store_some(self, x: Self::F, to: &mut [f32]) {
        if to.len() >= Self::LANES {
            return self.store(x, to);
        }
        let mut lanes = [0.0; LANES_MAX];
        self.store(x, &mut lanes);
        to.copy_from_slice(&lanes[..to.len()]);
    }
}

/// No vector has more elements.
pub(crate) const LANES_MAX: usize = 16;
/// No tile has more rows.
pub(crate) const TILE_ROWS_MAX: usize = 14;
/// Vectors side by side in a tile, which is the width of a panel of packed weights.
pub(crate) const TILE_VECTORS: usize = 2;
/// No panel is wider.
pub(crate) const PANEL_MAX: usize = TILE_VECTORS * LANES_MAX;
