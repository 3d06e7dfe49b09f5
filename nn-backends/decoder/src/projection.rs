//! [`Projection`]: one or several matrices that take the same rows, computed by a team.

use headland_kernels::{Activations, Level, Matrix, Target, Team};

use crate::weights::Stored;

/// Matrices side by side: their outputs follow each other in a row.
pub(crate) struct Projection {
    level: Level,
    inputs: usize,
    matrices: Vec<Matrix>,
    /// Of all matrices, or none.
    bias: Vec<f32>,
}

impl Projection {
    /// Packs `stored`, of which each takes as many inputs; `bias` has as many elements as all have outputs, or none.
    pub fn new(level: Level, stored: &[Stored], bias: Vec<f32>) -> Self {
        let pack = |stored: &Stored| Matrix::new(level, stored.storage, &stored.bytes, stored.inputs, stored.outputs);
        let inputs = stored.first().map_or(0, |stored| stored.inputs);
        Projection { level, inputs, matrices: stored.iter().map(pack).collect(), bias }
    }

    /// Bytes of memory.
    pub fn bytes(&self) -> usize {
        self.matrices.iter().map(Matrix::bytes).sum::<usize>() + size_of_val(&*self.bias)
    }

    /// Multiplies the rows of `x` into those of `out`, or adds to them.
    pub fn multiply(&self, team: &mut Team, x: &[f32], scratch: &mut Activations, out: &mut [f32], adds: bool) {
        scratch.fill(self.level, x, self.inputs, self.matrices.iter().map(Matrix::takes));
        let widths: Vec<usize> = self.matrices.iter().map(Matrix::outputs).collect();
        let mut biases = &self.bias[..];
        let targets =
            Target::divide(out, widths.iter().sum(), &widths).into_iter().zip(&widths).map(|(target, width)| {
                let bias = biases.split_off(..*width);
                let target = target.with_bias(bias);
                if adds { target.adding() } else { target }
            });
        let targets: Vec<Target> = targets.collect();
        // Each item is some panels of one matrix.
        let all: usize = self.matrices.iter().map(Matrix::panels).sum();
        let each = (all / team.items()).max(1);
        let items = self.matrices.iter().enumerate().flat_map(|(matrix, of)| {
            let panels = of.panels();
            (0..panels).step_by(each).map(move |first| (matrix, first..panels.min(first + each)))
        });
        let items: Vec<_> = items.collect();
        let x = &*scratch;
        team.run(items.len(), &|item, _| {
            let (matrix, panels) = items[item].clone();
            // SAFETY: each panel is in one item, and each item in one thread.
            unsafe { self.matrices[matrix].multiply(x, panels, &targets[matrix]) };
        });
    }
}
