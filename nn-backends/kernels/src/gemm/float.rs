//! What becomes of sums of floats, and of sums of units once they are floats.

use super::Finish;
use crate::functions::Activation;
use crate::matrix::Target;
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
    bias: &'a [f32],
    then: Then,
    /// The columns that are finished are this one's alone, as whoever made it promised.
    out: Target<'a>,
}

impl<'a> FinishFloats<'a> {
    /// Stores what the product is.
    pub fn storing(out: Target<'a>) -> Self {
        FinishFloats { bias: &[], then: Then::Store, out }
    }

    /// Adds `bias`, does what follows, and stores in `out`.
    pub fn new(bias: &'a [f32], then: Then, out: Target<'a>) -> Self {
        FinishFloats { bias, then, out }
    }

    /// Finishes one vector of products, `column` of `row`, of which `width` count.
    #[inline(always)]
    pub fn vector<S: Simd>(&mut self, simd: S, row: usize, column: usize, width: usize, mut x: S::F) {
        if !self.bias.is_empty() {
            x = simd.add(x, simd.load(&self.bias[column..]));
        }
        // SAFETY: a `Target` is a borrow of these elements; of its copies, others write other columns, which is the promise
        // of whoever copied it.
        let out = unsafe { self.out.elements(row, column, width.min(S::LANES)) };
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
