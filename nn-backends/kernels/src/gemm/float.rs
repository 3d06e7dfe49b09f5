//! What becomes of sums of floats, and of sums of units once they are floats.

use super::Finish;
use crate::functions::Activation;
use crate::simd::Simd;

/// What follows a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    /// Nothing.
    Store,
    /// An activation.
    Activate(Activation),
    /// Adding to what is there: the residual.
    Add,
}

/// Adds the bias, does what follows, and stores.
pub(crate) struct FinishFloats<'a> {
    /// A panel's multiple of elements, or none.
    pub bias: &'a [f32],
    pub then: Then,
    pub out: &'a mut [f32],
    pub stride: usize,
}

impl<'a> FinishFloats<'a> {
    /// Stores what the product is.
    pub fn storing(out: &'a mut [f32], stride: usize) -> Self {
        FinishFloats { bias: &[], then: Then::Store, out, stride }
    }

    /// Finishes one vector of products, `column` of `row`, of which `width` count.
    #[inline(always)]
    pub fn vector<S: Simd>(&mut self, simd: S, row: usize, column: usize, width: usize, mut x: S::F) {
        if !self.bias.is_empty() {
            x = simd.add(x, simd.load(&self.bias[column..]));
        }
        let out = &mut self.out[row * self.stride + column..][..width.min(S::LANES)];
        match self.then {
            Then::Store => {}
            Then::Activate(activation) => x = activation.apply(simd, x),
            Then::Add => x = simd.add(x, simd.load_some(out, 0.0)),
        }
        simd.store_some(x, out);
    }
}

impl Finish<f32> for FinishFloats<'_> {
    #[inline(always)]
    fn row<S: Simd>(&mut self, simd: S, row: usize, column: usize, width: usize, sums: &[f32]) {
        for (begin, sums) in (0..width).step_by(S::LANES).zip(sums.chunks_exact(S::LANES)) {
            self.vector(simd, row, column + begin, width - begin, simd.load(sums));
        }
    }
}
