//! AVX2 with FMA: Haswell, Zen, and what came after.

use std::arch::x86_64::*;

use super::{Simd, Work};

/// The token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Avx2(());

impl Avx2 {
    /// The token, if the machine has the instructions.
    pub fn detect() -> Option<Self> {
        let there =
            is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c");
        there.then_some(Avx2(()))
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
#[inline(never)]
fn with_avx2<W: Work>(simd: Avx2, work: W) -> W::Output {
    work.run(simd)
}

/// Calls an intrinsic.
macro_rules! call {
    ($intrinsic:expr) => {
        // SAFETY: the token says that the machine has the instruction; pointers are the caller's promise.
        unsafe { $intrinsic }
    };
}

impl Avx2 {
    /// Folds the halves of `x` into one.
    #[inline(always)]
    fn halved(self, x: __m256, fold: impl Fn(__m128, __m128) -> __m128) -> __m128 {
        call!(fold(_mm256_castps256_ps128(x), _mm256_extractf128_ps::<1>(x)))
    }
}

impl Simd for Avx2 {
    const LANES: usize = 8;
    const BLOCK_ROWS: usize = 4;
    const TILE_ROWS: usize = 6;
    // Products of bytes two by two saturate 16 bits, so units are pairs of 16 bits, which do not.
    const GROUP: usize = 2;
    const UNSIGNED: bool = false;
    type F = __m256;
    type I = __m256i;

    #[inline(always)]
    fn vectorize<W: Work>(self, work: W) -> W::Output {
        call!(with_avx2(self, work))
    }

    #[inline(always)]
    unsafe fn load_at(self, from: *const f32) -> __m256 {
        call!(_mm256_loadu_ps(from))
    }

    #[inline(always)]
    unsafe fn store_at(self, x: __m256, to: *mut f32) {
        call!(_mm256_storeu_ps(to, x))
    }

    #[inline(always)]
    unsafe fn load_int_at(self, from: *const i32) -> __m256i {
        call!(_mm256_loadu_si256(from.cast()))
    }

    #[inline(always)]
    unsafe fn store_int_at(self, x: __m256i, to: *mut i32) {
        call!(_mm256_storeu_si256(to.cast(), x))
    }

    #[inline(always)]
    fn splat(self, x: f32) -> __m256 {
        call!(_mm256_set1_ps(x))
    }

    #[inline(always)]
    fn splat_int(self, x: i32) -> __m256i {
        call!(_mm256_set1_epi32(x))
    }

    #[inline(always)]
    fn add(self, a: __m256, b: __m256) -> __m256 {
        call!(_mm256_add_ps(a, b))
    }

    #[inline(always)]
    fn sub(self, a: __m256, b: __m256) -> __m256 {
        call!(_mm256_sub_ps(a, b))
    }

    #[inline(always)]
    fn mul(self, a: __m256, b: __m256) -> __m256 {
        call!(_mm256_mul_ps(a, b))
    }

    #[inline(always)]
    fn div(self, a: __m256, b: __m256) -> __m256 {
        call!(_mm256_div_ps(a, b))
    }

    #[inline(always)]
    fn max(self, a: __m256, b: __m256) -> __m256 {
        call!(_mm256_max_ps(a, b))
    }

    #[inline(always)]
    fn min(self, a: __m256, b: __m256) -> __m256 {
        call!(_mm256_min_ps(a, b))
    }

    #[inline(always)]
    fn mul_add(self, a: __m256, b: __m256, c: __m256) -> __m256 {
        call!(_mm256_fmadd_ps(a, b, c))
    }

    #[inline(always)]
    fn round(self, x: __m256) -> __m256 {
        call!(_mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(x))
    }

    #[inline(always)]
    fn scale(self, x: __m256, power: __m256) -> __m256 {
        let exponent = call!(_mm256_slli_epi32::<23>(_mm256_add_epi32(_mm256_cvtps_epi32(power), self.splat_int(127))));
        self.mul(x, call!(_mm256_castsi256_ps(exponent)))
    }

    #[inline(always)]
    fn sum(self, x: __m256) -> f32 {
        let quarter = self.halved(x, |a, b| call!(_mm_add_ps(a, b)));
        let eighth = call!(_mm_add_ps(quarter, _mm_movehl_ps(quarter, quarter)));
        call!(_mm_cvtss_f32(_mm_add_ss(eighth, _mm_movehdup_ps(eighth))))
    }

    #[inline(always)]
    fn largest(self, x: __m256) -> f32 {
        let quarter = self.halved(x, |a, b| call!(_mm_max_ps(a, b)));
        let eighth = call!(_mm_max_ps(quarter, _mm_movehl_ps(quarter, quarter)));
        call!(_mm_cvtss_f32(_mm_max_ss(eighth, _mm_movehdup_ps(eighth))))
    }

    #[inline(always)]
    fn to_float(self, x: __m256i) -> __m256 {
        call!(_mm256_cvtepi32_ps(x))
    }

    #[inline(always)]
    fn to_int(self, x: __m256) -> __m256i {
        call!(_mm256_cvtps_epi32(x))
    }

    #[inline(always)]
    fn sub_int(self, a: __m256i, b: __m256i) -> __m256i {
        call!(_mm256_sub_epi32(a, b))
    }

    #[inline(always)]
    fn mul_int(self, a: __m256i, b: __m256i) -> __m256i {
        call!(_mm256_mullo_epi32(a, b))
    }

    #[inline(always)]
    fn dot(self, sum: __m256i, activations: __m256i, weights: __m256i) -> __m256i {
        call!(_mm256_add_epi32(sum, _mm256_madd_epi16(activations, weights)))
    }

    #[inline(always)]
    unsafe fn store_units_at(self, x: __m256i, zero: __m256i, to: *mut i32) {
        let x = self.sub_int(x, zero);
        let pairs = call!(_mm_packs_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256::<1>(x)));
        call!(_mm_storeu_si128(to.cast(), pairs))
    }

    #[inline(always)]
    fn and_int(self, a: __m256i, b: __m256i) -> __m256i {
        call!(_mm256_and_si256(a, b))
    }

    #[inline(always)]
    fn or_int(self, a: __m256i, b: __m256i) -> __m256i {
        call!(_mm256_or_si256(a, b))
    }

    #[inline(always)]
    fn shift_right<const BITS: u32>(self, x: __m256i) -> __m256i {
        call!(_mm256_srl_epi32(x, _mm_cvtsi32_si128(BITS as i32)))
    }

    #[inline(always)]
    fn shift_left<const BITS: u32>(self, x: __m256i) -> __m256i {
        call!(_mm256_sll_epi32(x, _mm_cvtsi32_si128(BITS as i32)))
    }

    #[inline(always)]
    fn dot_bytes<const BITS: u32>(self, sum: __m256i, weights: __m256i, activations: __m256i) -> __m256i {
        let products = if BITS < 8 {
            // Two products of seven bits and eight fit into 16 bits.
            call!(_mm256_madd_epi16(_mm256_maddubs_epi16(weights, activations), _mm256_set1_epi16(1)))
        } else {
            let low = call!(_mm256_madd_epi16(
                _mm256_and_si256(weights, _mm256_set1_epi16(0xff)),
                _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(activations))
            ));
            let high = call!(_mm256_madd_epi16(_mm256_srli_epi16::<8>(weights), _mm256_srai_epi16::<8>(activations)));
            call!(_mm256_add_epi32(low, high))
        };
        call!(_mm256_add_epi32(sum, products))
    }

    #[inline(always)]
    unsafe fn load_unsigned_at(self, from: *const u8) -> __m256 {
        call!(_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(from.cast()))))
    }

    #[inline(always)]
    unsafe fn load_signed_at(self, from: *const u8) -> __m256 {
        call!(_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(from.cast()))))
    }

    #[inline(always)]
    unsafe fn load_half_at(self, from: *const u16) -> __m256 {
        call!(_mm256_cvtph_ps(_mm_loadu_si128(from.cast())))
    }

    #[inline(always)]
    unsafe fn load_upper_at(self, from: *const u16) -> __m256 {
        call!(_mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(_mm_loadu_si128(from.cast())))))
    }

    #[inline(always)]
    fn prefetch<N>(self, from: *const N) {
        call!(_mm_prefetch::<_MM_HINT_T0>(from.cast()))
    }

    #[inline(always)]
    fn prefetch_early<N>(self, from: *const N) {
        call!(_mm_prefetch::<_MM_HINT_T1>(from.cast()))
    }
}
