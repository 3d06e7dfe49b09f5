//! The innermost loop: a few rows times one panel, all sums in registers.

use super::{Rows, panel_width};
use crate::simd::{Simd, TILE_ROWS_MAX, TILE_VECTORS, Work};

/// What is multiplied: floats, or units of several values of 8 bits.
pub(crate) trait Number: bytemuck::Pod + Default {
    /// A vector of sums, and of weights.
    type Lanes<S: Simd>: Copy;
    fn zeros<S: Simd>(simd: S) -> Self::Lanes<S>;
    fn splat<S: Simd>(simd: S, x: Self) -> Self::Lanes<S>;
    fn multiply_add<S: Simd>(
        simd: S,
        row: Self::Lanes<S>,
        panel: Self::Lanes<S>,
        sum: Self::Lanes<S>,
    ) -> Self::Lanes<S>;
    /// # Safety
    /// `S::LANES` elements can be read.
    unsafe fn load<S: Simd>(simd: S, from: *const Self) -> Self::Lanes<S>;
    /// # Safety
    /// `S::LANES` elements can be written.
    unsafe fn store<S: Simd>(simd: S, x: Self::Lanes<S>, to: *mut Self);
}

impl Number for f32 {
    type Lanes<S: Simd> = S::F;

    #[inline(always)]
    fn zeros<S: Simd>(simd: S) -> S::F {
        simd.splat(0.0)
    }

    #[inline(always)]
    fn splat<S: Simd>(simd: S, x: f32) -> S::F {
        simd.splat(x)
    }

    #[inline(always)]
    fn multiply_add<S: Simd>(simd: S, row: S::F, panel: S::F, sum: S::F) -> S::F {
        simd.mul_add(row, panel, sum)
    }

    #[inline(always)]
    unsafe fn load<S: Simd>(simd: S, from: *const f32) -> S::F {
        // SAFETY: the caller's promise.
        unsafe { simd.load_at(from) }
    }

    #[inline(always)]
    unsafe fn store<S: Simd>(simd: S, x: S::F, to: *mut f32) {
        // SAFETY: the caller's promise.
        unsafe { simd.store_at(x, to) }
    }
}

impl Number for i32 {
    type Lanes<S: Simd> = S::I;

    #[inline(always)]
    fn zeros<S: Simd>(simd: S) -> S::I {
        simd.splat_int(0)
    }

    #[inline(always)]
    fn splat<S: Simd>(simd: S, x: i32) -> S::I {
        simd.splat_int(x)
    }

    #[inline(always)]
    fn multiply_add<S: Simd>(simd: S, row: S::I, panel: S::I, sum: S::I) -> S::I {
        simd.dot(sum, row, panel)
    }

    #[inline(always)]
    unsafe fn load<S: Simd>(simd: S, from: *const i32) -> S::I {
        // SAFETY: the caller's promise.
        unsafe { simd.load_int_at(from) }
    }

    #[inline(always)]
    unsafe fn store<S: Simd>(simd: S, x: S::I, to: *mut i32) {
        // SAFETY: the caller's promise.
        unsafe { simd.store_int_at(x, to) }
    }
}

/// How far ahead of their use weights are asked for: a memory page, at whose end the machine's own foresight ends.
const AHEAD: usize = 4096 / size_of::<f32>();

/// A tile to compute.
pub(super) struct Tile<'a, N> {
    /// `S::TILE_ROWS` at most, and at least one.
    pub rows: Rows<'a, N>,
    pub panel: &'a [N],
    pub depth: usize,
    /// Row after row, a panel wide.
    pub sums: &'a mut [N],
}

impl<N: Number> Tile<'_, N> {
    /// Computes it in a function made for its number of rows.
    #[inline(always)]
    pub fn compute<S: Simd>(self, simd: S) {
        macro_rules! made_for {
            ($($count:literal)*) => {
                match self.rows.rows {
                    // The first condition is known to the compiler: what no tile of `S` has is not compiled for it.
                    $(rows if $count <= S::TILE_ROWS && rows == $count => simd.vectorize(Of::<N, $count>(self)),)*
                    rows => unreachable!("a tile of {rows} rows"),
                }
            };
        }
        const { assert!(S::TILE_ROWS <= TILE_ROWS_MAX) };
        made_for!(1 2 3 4 5 6 7 8 9 10 11 12 13 14)
    }
}

/// A tile of `R` rows.
struct Of<'a, N, const R: usize>(Tile<'a, N>);

impl<N: Number, const R: usize> Work for Of<'_, N, R> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Of(Tile { rows: Rows { data, rows, stride }, panel, depth, sums }) = self;
        let width = panel_width::<S>();
        assert!(rows == R && data.len() >= (R - 1) * stride + depth);
        assert!(panel.len() >= depth * width && sums.len() >= R * width);
        let mut totals = [[N::zeros(simd); TILE_VECTORS]; R];
        let starts: [*const N; R] = std::array::from_fn(|row| data[row * stride..].as_ptr());
        let mut weights = panel.as_ptr();
        for step in 0..depth {
            for vector in 0..TILE_VECTORS {
                simd.prefetch(weights.wrapping_add(AHEAD + vector * S::LANES));
            }
            // SAFETY: `step` is less than `depth`: each row has that many elements from its start, the panel that many
            // rows of `TILE_VECTORS` vectors, both as asserted.
            unsafe {
                let right: [N::Lanes<S>; TILE_VECTORS] =
                    std::array::from_fn(|vector| N::load(simd, weights.add(vector * S::LANES)));
                for row in 0..R {
                    let left = N::splat(simd, *starts[row].add(step));
                    for vector in 0..TILE_VECTORS {
                        totals[row][vector] = N::multiply_add(simd, left, right[vector], totals[row][vector]);
                    }
                }
                weights = weights.add(width);
            }
        }
        for (row, totals) in totals.into_iter().enumerate() {
            for (vector, total) in totals.into_iter().enumerate() {
                // SAFETY: `sums` has `R` rows of `TILE_VECTORS` vectors, as asserted.
                unsafe { N::store(simd, total, sums.as_mut_ptr().add(row * width + vector * S::LANES)) };
            }
        }
    }
}
