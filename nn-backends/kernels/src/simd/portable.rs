//! Arrays of four, which compilers turn into whatever vectors the target has.

use super::{Simd, Work};

/// The token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Portable;

const LANES: usize = 4;

/// Adding and subtracting it leaves an integer, for floats up to a quarter of it.
const ROUNDING: f32 = 1.5 * (1 << 23) as f32;

#[inline(always)]
fn map<T: Copy, U>(x: [T; LANES], function: impl Fn(T) -> U) -> [U; LANES] {
    std::array::from_fn(|lane| function(x[lane]))
}

#[inline(always)]
fn zip<T: Copy, U>(a: [T; LANES], b: [T; LANES], function: impl Fn(T, T) -> U) -> [U; LANES] {
    std::array::from_fn(|lane| function(a[lane], b[lane]))
}

impl Simd for Portable {
    const LANES: usize = LANES;
    const BLOCK_ROWS: usize = 4;
    const TILE_ROWS: usize = 6;
    const GROUP: usize = 2;
    const UNSIGNED: bool = false;
    type F = [f32; LANES];
    type I = [i32; LANES];

    #[inline(never)]
    fn vectorize<W: Work>(self, work: W) -> W::Output {
        work.run(self)
    }

    #[inline(always)]
    unsafe fn load_at(self, from: *const f32) -> [f32; LANES] {
        // SAFETY: as many can be read, as the caller promises; arrays of floats need no more alignment than floats.
        unsafe { from.cast::<[f32; LANES]>().read() }
    }

    #[inline(always)]
    unsafe fn store_at(self, x: [f32; LANES], to: *mut f32) {
        // SAFETY: as many can be written, as the caller promises.
        unsafe { to.cast::<[f32; LANES]>().write(x) }
    }

    #[inline(always)]
    unsafe fn load_int_at(self, from: *const i32) -> [i32; LANES] {
        // SAFETY: as many can be read, as the caller promises.
        unsafe { from.cast::<[i32; LANES]>().read() }
    }

    #[inline(always)]
    unsafe fn store_int_at(self, x: [i32; LANES], to: *mut i32) {
        // SAFETY: as many can be written, as the caller promises.
        unsafe { to.cast::<[i32; LANES]>().write(x) }
    }

    #[inline(always)]
    fn splat(self, x: f32) -> [f32; LANES] {
        [x; LANES]
    }

    #[inline(always)]
    fn splat_int(self, x: i32) -> [i32; LANES] {
        [x; LANES]
    }

    #[inline(always)]
    fn add(self, a: [f32; LANES], b: [f32; LANES]) -> [f32; LANES] {
        zip(a, b, |a, b| a + b)
    }

    #[inline(always)]
    fn sub(self, a: [f32; LANES], b: [f32; LANES]) -> [f32; LANES] {
        zip(a, b, |a, b| a - b)
    }

    #[inline(always)]
    fn mul(self, a: [f32; LANES], b: [f32; LANES]) -> [f32; LANES] {
        zip(a, b, |a, b| a * b)
    }

    #[inline(always)]
    fn div(self, a: [f32; LANES], b: [f32; LANES]) -> [f32; LANES] {
        zip(a, b, |a, b| a / b)
    }

    #[inline(always)]
    fn max(self, a: [f32; LANES], b: [f32; LANES]) -> [f32; LANES] {
        zip(a, b, |a, b| if a > b { a } else { b })
    }

    #[inline(always)]
    fn min(self, a: [f32; LANES], b: [f32; LANES]) -> [f32; LANES] {
        zip(a, b, |a, b| if a < b { a } else { b })
    }

    #[inline(always)]
    fn mul_add(self, a: [f32; LANES], b: [f32; LANES], c: [f32; LANES]) -> [f32; LANES] {
        // Without the instruction a fused product is a call into the mathematics library.
        if cfg!(target_arch = "aarch64") {
            std::array::from_fn(|lane| a[lane].mul_add(b[lane], c[lane]))
        } else {
            self.add(self.mul(a, b), c)
        }
    }

    #[inline(always)]
    fn round(self, x: [f32; LANES]) -> [f32; LANES] {
        map(x, |x| (x + ROUNDING) - ROUNDING)
    }

    #[inline(always)]
    fn scale(self, x: [f32; LANES], power: [f32; LANES]) -> [f32; LANES] {
        zip(x, power, |x, power| x * f32::from_bits(((power as i32).wrapping_add(127) as u32) << 23))
    }

    #[inline(always)]
    fn sum(self, x: [f32; LANES]) -> f32 {
        (x[0] + x[2]) + (x[1] + x[3])
    }

    #[inline(always)]
    fn largest(self, x: [f32; LANES]) -> f32 {
        x.into_iter().fold(f32::NEG_INFINITY, f32::max)
    }

    #[inline(always)]
    fn to_float(self, x: [i32; LANES]) -> [f32; LANES] {
        map(x, |x| x as f32)
    }

    #[inline(always)]
    fn to_int(self, x: [f32; LANES]) -> [i32; LANES] {
        map(x, |x| x as i32)
    }

    #[inline(always)]
    fn sub_int(self, a: [i32; LANES], b: [i32; LANES]) -> [i32; LANES] {
        zip(a, b, i32::wrapping_sub)
    }

    #[inline(always)]
    fn mul_int(self, a: [i32; LANES], b: [i32; LANES]) -> [i32; LANES] {
        zip(a, b, i32::wrapping_mul)
    }

    #[inline(always)]
    fn dot(self, sum: [i32; LANES], activations: [i32; LANES], weights: [i32; LANES]) -> [i32; LANES] {
        let (low, high) = (|unit: i32| i32::from(unit as i16), |unit: i32| unit >> 16);
        let products =
            zip(activations, weights, |a, b| low(a).wrapping_mul(low(b)).wrapping_add(high(a).wrapping_mul(high(b))));
        zip(sum, products, i32::wrapping_add)
    }

    #[inline(always)]
    unsafe fn store_units_at(self, x: [i32; LANES], zero: [i32; LANES], to: *mut i32) {
        let x = self.sub_int(x, zero);
        let pair = |low: i32, high: i32| (low & 0xffff) | (high << 16);
        // SAFETY: two units can be written, as the caller promises.
        unsafe { to.cast::<[i32; 2]>().write([pair(x[0], x[1]), pair(x[2], x[3])]) }
    }

    #[inline(always)]
    fn and_int(self, a: [i32; LANES], b: [i32; LANES]) -> [i32; LANES] {
        zip(a, b, |a, b| a & b)
    }

    #[inline(always)]
    fn or_int(self, a: [i32; LANES], b: [i32; LANES]) -> [i32; LANES] {
        zip(a, b, |a, b| a | b)
    }

    #[inline(always)]
    fn shift_right<const BITS: u32>(self, x: [i32; LANES]) -> [i32; LANES] {
        map(x, |x| (x as u32 >> BITS) as i32)
    }

    #[inline(always)]
    fn shift_left<const BITS: u32>(self, x: [i32; LANES]) -> [i32; LANES] {
        map(x, |x| x << BITS)
    }

    #[inline(always)]
    fn dot_bytes<const BITS: u32>(
        self,
        sum: [i32; LANES],
        weights: [i32; LANES],
        activations: [i32; LANES],
    ) -> [i32; LANES] {
        let products = zip(weights, activations, |weights, activations| {
            let bytes = weights.to_le_bytes().into_iter().zip(activations.to_le_bytes());
            bytes.map(|(weight, activation)| i32::from(weight) * i32::from(activation as i8)).sum()
        });
        zip(sum, products, i32::wrapping_add)
    }

    #[inline(always)]
    unsafe fn load_unsigned_at(self, from: *const u8) -> [f32; LANES] {
        // SAFETY: as many can be read, as the caller promises.
        map(unsafe { from.cast::<[u8; LANES]>().read() }, f32::from)
    }

    #[inline(always)]
    unsafe fn load_signed_at(self, from: *const u8) -> [f32; LANES] {
        // SAFETY: as many can be read, as the caller promises.
        map(unsafe { from.cast::<[i8; LANES]>().read() }, f32::from)
    }

    #[inline(always)]
    unsafe fn load_half_at(self, from: *const u16) -> [f32; LANES] {
        // SAFETY: as many can be read, as the caller promises.
        map(unsafe { from.cast::<[u16; LANES]>().read_unaligned() }, |bits| half::f16::from_bits(bits).to_f32())
    }

    #[inline(always)]
    unsafe fn load_upper_at(self, from: *const u16) -> [f32; LANES] {
        // SAFETY: as many can be read, as the caller promises.
        map(unsafe { from.cast::<[u16; LANES]>().read_unaligned() }, |bits| f32::from_bits(u32::from(bits) << 16))
    }

    #[inline(always)]
    fn prefetch<N>(self, _: *const N) {}

    #[inline(always)]
    fn prefetch_early<N>(self, _: *const N) {}
}
