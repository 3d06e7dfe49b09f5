//! AVX-512 with VNNI: Ice Lake, Zen 4, and what came after.

use std::arch::x86_64::*;

use super::{Simd, Work};

/// The token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Avx512(());

impl Avx512 {
    /// The token, if the machine has the instructions.
    pub fn detect() -> Option<Self> {
        let there = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512vnni")
            && is_x86_feature_detected!("fma");
        there.then_some(Avx512(()))
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")]
#[inline(never)]
fn with_avx512<W: Work>(simd: Avx512, work: W) -> W::Output {
    work.run(simd)
}

/// Calls an intrinsic.
macro_rules! call {
    ($intrinsic:expr) => {
        // SAFETY: the token says that the machine has the instruction; pointers are the caller's promise.
        unsafe { $intrinsic }
    };
}

impl Avx512 {
    /// The transpose: within blocks of four by four first, then of the blocks.
    #[inline(always)]
    fn transposed(self, x: [__m512; 16]) -> [__m512; 16] {
        let (mut pairs, mut blocks, mut out) = (x, x, x);
        for i in 0..8 {
            pairs[2 * i] = call!(_mm512_unpacklo_ps(x[2 * i], x[2 * i + 1]));
            pairs[2 * i + 1] = call!(_mm512_unpackhi_ps(x[2 * i], x[2 * i + 1]));
        }
        let double = |x: __m512| call!(_mm512_castps_pd(x));
        for i in 0..4 {
            for half in 0..2 {
                let (a, b) = (double(pairs[4 * i + half]), double(pairs[4 * i + half + 2]));
                blocks[4 * i + 2 * half] = call!(_mm512_castpd_ps(_mm512_unpacklo_pd(a, b)));
                blocks[4 * i + 2 * half + 1] = call!(_mm512_castpd_ps(_mm512_unpackhi_pd(a, b)));
            }
        }
        let even = |a, b| call!(_mm512_shuffle_f32x4::<0x88>(a, b));
        let odd = |a, b| call!(_mm512_shuffle_f32x4::<0xdd>(a, b));
        for i in 0..4 {
            let [a, b, c, d] = [blocks[i], blocks[4 + i], blocks[8 + i], blocks[12 + i]];
            out[i] = even(even(a, b), even(c, d));
            out[4 + i] = even(odd(a, b), odd(c, d));
            out[8 + i] = odd(even(a, b), even(c, d));
            out[12 + i] = odd(odd(a, b), odd(c, d));
        }
        out
    }
}

impl Simd for Avx512 {
    const LANES: usize = 16;
    const BLOCK_ROWS: usize = 8;
    const TILE_ROWS: usize = 14;
    const GROUP: usize = 4;
    const UNSIGNED: bool = true;
    type F = __m512;
    type I = __m512i;

    #[inline(always)]
    fn vectorize<W: Work>(self, work: W) -> W::Output {
        call!(with_avx512(self, work))
    }

    #[inline(always)]
    unsafe fn load_at(self, from: *const f32) -> __m512 {
        call!(_mm512_loadu_ps(from))
    }

    #[inline(always)]
    unsafe fn store_at(self, x: __m512, to: *mut f32) {
        call!(_mm512_storeu_ps(to, x))
    }

    #[inline(always)]
    unsafe fn load_int_at(self, from: *const i32) -> __m512i {
        call!(_mm512_loadu_si512(from.cast()))
    }

    #[inline(always)]
    unsafe fn store_int_at(self, x: __m512i, to: *mut i32) {
        call!(_mm512_storeu_si512(to.cast(), x))
    }

    #[inline(always)]
    fn splat(self, x: f32) -> __m512 {
        call!(_mm512_set1_ps(x))
    }

    #[inline(always)]
    fn splat_int(self, x: i32) -> __m512i {
        call!(_mm512_set1_epi32(x))
    }

    #[inline(always)]
    fn add(self, a: __m512, b: __m512) -> __m512 {
        call!(_mm512_add_ps(a, b))
    }

    #[inline(always)]
    fn sub(self, a: __m512, b: __m512) -> __m512 {
        call!(_mm512_sub_ps(a, b))
    }

    #[inline(always)]
    fn mul(self, a: __m512, b: __m512) -> __m512 {
        call!(_mm512_mul_ps(a, b))
    }

    #[inline(always)]
    fn div(self, a: __m512, b: __m512) -> __m512 {
        call!(_mm512_div_ps(a, b))
    }

    #[inline(always)]
    fn max(self, a: __m512, b: __m512) -> __m512 {
        call!(_mm512_max_ps(a, b))
    }

    #[inline(always)]
    fn min(self, a: __m512, b: __m512) -> __m512 {
        call!(_mm512_min_ps(a, b))
    }

    #[inline(always)]
    fn mul_add(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        call!(_mm512_fmadd_ps(a, b, c))
    }

    #[inline(always)]
    fn round(self, x: __m512) -> __m512 {
        call!(_mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(x))
    }

    #[inline(always)]
    fn scale(self, x: __m512, power: __m512) -> __m512 {
        call!(_mm512_scalef_ps(x, power))
    }

    #[inline(always)]
    fn sum(self, x: __m512) -> f32 {
        call!(_mm512_reduce_add_ps(x))
    }

    #[inline(always)]
    fn largest(self, x: __m512) -> f32 {
        call!(_mm512_reduce_max_ps(x))
    }

    #[inline(always)]
    fn to_float(self, x: __m512i) -> __m512 {
        call!(_mm512_cvtepi32_ps(x))
    }

    #[inline(always)]
    fn to_int(self, x: __m512) -> __m512i {
        call!(_mm512_cvtps_epi32(x))
    }

    #[inline(always)]
    fn sub_int(self, a: __m512i, b: __m512i) -> __m512i {
        call!(_mm512_sub_epi32(a, b))
    }

    #[inline(always)]
    fn mul_int(self, a: __m512i, b: __m512i) -> __m512i {
        call!(_mm512_mullo_epi32(a, b))
    }

    #[inline(always)]
    fn dot(self, sum: __m512i, activations: __m512i, weights: __m512i) -> __m512i {
        call!(_mm512_dpbusd_epi32(sum, activations, weights))
    }

    #[inline(always)]
    unsafe fn store_units_at(self, x: __m512i, _zero: __m512i, to: *mut i32) {
        call!(_mm_storeu_si128(to.cast(), _mm512_cvtepi32_epi8(x)))
    }

    #[inline(always)]
    fn and_int(self, a: __m512i, b: __m512i) -> __m512i {
        call!(_mm512_and_si512(a, b))
    }

    #[inline(always)]
    fn or_int(self, a: __m512i, b: __m512i) -> __m512i {
        call!(_mm512_or_si512(a, b))
    }

    #[inline(always)]
    fn shift_right<const BITS: u32>(self, x: __m512i) -> __m512i {
        call!(_mm512_srli_epi32::<BITS>(x))
    }

    #[inline(always)]
    fn shift_left<const BITS: u32>(self, x: __m512i) -> __m512i {
        call!(_mm512_slli_epi32::<BITS>(x))
    }

    #[inline(always)]
    fn dot_bytes<const BITS: u32>(self, sum: __m512i, weights: __m512i, activations: __m512i) -> __m512i {
        call!(_mm512_dpbusd_epi32(sum, weights, activations))
    }

    #[inline(always)]
    unsafe fn load_unsigned_at(self, from: *const u8) -> __m512 {
        call!(_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(from.cast()))))
    }

    #[inline(always)]
    unsafe fn load_signed_at(self, from: *const u8) -> __m512 {
        call!(_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(from.cast()))))
    }

    #[inline(always)]
    unsafe fn load_half_at(self, from: *const u16) -> __m512 {
        call!(_mm512_cvtph_ps(_mm256_loadu_si256(from.cast())))
    }

    #[inline(always)]
    unsafe fn load_upper_at(self, from: *const u16) -> __m512 {
        call!(_mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(_mm256_loadu_si256(from.cast())))))
    }

    #[inline(always)]
    fn prefetch<N>(self, from: *const N) {
        call!(_mm_prefetch::<_MM_HINT_T0>(from.cast()))
    }

    #[inline(always)]
    fn prefetch_early<N>(self, from: *const N) {
        call!(_mm_prefetch::<_MM_HINT_T1>(from.cast()))
    }

    #[inline(always)]
    unsafe fn transpose_at(self, from: *const f32, from_stride: usize, rows: usize, to: *mut f32, to_stride: usize) {
        let mut x = [self.splat(0.0); 16];
        for (row, x) in x.iter_mut().enumerate().take(rows) {
            // SAFETY: the caller's promise.
            *x = unsafe { self.load_at(from.add(row * from_stride)) };
        }
        for (row, x) in self.transposed(x).into_iter().enumerate() {
            // SAFETY: the caller's promise.
            unsafe { self.store_at(x, to.add(row * to_stride)) };
        }
    }

    #[inline(always)]
    fn load_some(self, from: &[f32], fill: f32) -> __m512 {
        if from.len() >= 16 {
            return self.load(from);
        }
        let lanes = first(from.len());
        // SAFETY: lanes beyond the slice are masked out, and what is masked out is not read.
        unsafe { _mm512_mask_loadu_ps(_mm512_set1_ps(fill), lanes, from.as_ptr()) }
    }

    #[inline(always)]
    fn store_some(self, x: __m512, to: &mut [f32]) {
        if to.len() >= 16 {
            return self.store(x, to);
        }
        let lanes = first(to.len());
        // SAFETY: lanes beyond the slice are masked out, and what is masked out is not written.
        unsafe { _mm512_mask_storeu_ps(to.as_mut_ptr(), lanes, x) }
    }
}

/// A mask of the first `count` lanes, fewer than all.
#[inline(always)]
fn first(count: usize) -> __mmask16 {
    !(!0 << count)
}
