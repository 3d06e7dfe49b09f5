//! How a model is served: what its package says, and what is decided here where it says nothing.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use headland_nn_core::{BatchAxes, Batching, Device, Executor, NnError, Padding};

use crate::assemble::Layout;
use crate::policy::Policy;

/// Requests that may wait for one model, unless its owner says otherwise.
pub const DEFAULT_QUEUE_MAX: usize = 256;

/// Rows in one run, unless the model's package says otherwise.
pub const DEFAULT_ROWS_MAX: usize = 64;

/// Cells in one run of a model with a length axis: enough for the matrix products to be at their best on a processor, few
/// enough that nobody waits long behind it. A GPU takes more.
pub const DEFAULT_CELLS_MAX_CPU: usize = 512;
/// The same on a GPU.
pub const DEFAULT_CELLS_MAX_GPU: usize = 16_384;

/// The longest a request waits for others, unless the package says otherwise. It only ever waits when others are coming.
pub const DEFAULT_DELAY_MAX: Duration = Duration::from_millis(2);

/// How a model is served.
#[derive(Clone)]
pub struct ModelOptions {
    /// Requests that may wait.
    pub queue_max: usize,
    /// How they are put together.
    pub batching: BatchOptions,
    /// Memory for answers that are remembered, in bytes; 0 remembers none.
    pub cache_bytes_max: u64,
    /// What else is worth knowing of how it runs, for people.
    pub remark: Option<String>,
    /// Dropped when the model's last executor is: how whoever counts memory learns that it is free again.
    pub held: Option<Arc<dyn Any + Send + Sync>>,
}

impl Default for ModelOptions {
    fn default() -> Self {
        ModelOptions {
            queue_max: DEFAULT_QUEUE_MAX,
            batching: BatchOptions::default(),
            cache_bytes_max: 0,
            remark: None,
            held: None,
        }
    }
}

/// What a model's package says of batching; what it leaves out is decided here.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BatchOptions {
    /// Every request is to run alone.
    pub off: bool,
    /// The axes. The executor's own word counts where there are none.
    pub axes: Option<BatchAxes>,
    /// The most rows in one run.
    pub rows_max: Option<usize>,
    /// The most cells (tokens) in one run.
    pub cells_max: Option<usize>,
    /// Numbers of rows that run best.
    pub preferred: Vec<usize>,
    /// The longest a request may wait for others.
    pub delay_max: Option<Duration>,
}

impl BatchOptions {
    /// The policy and the layout for an executor; or why requests run alone.
    pub(super) fn resolve(&self, executor: &dyn Executor) -> Result<Result<(Policy, Layout), String>, NnError> {
        if self.off {
            return Ok(Err("its package says so".to_owned()));
        }
        let axes = match (&self.axes, executor.batching()) {
            (Some(axes), _) => axes.clone(),
            (None, Batching::Axes(axes)) => axes,
            (None, Batching::Single { why }) => return Ok(Err(why.into_owned())),
        };
        let (padding, has_length) = (axes.padding, axes.inputs.iter().any(|input| input.length.is_some()));
        let layout = Layout::new(executor.signature(), axes);
        let layout =
            layout.map_err(|problem| NnError::bad_model(format!("its batch axes cannot be used: {problem}")))?;
        let cells_max = match (has_length, executor.device()) {
            (false, _) => usize::MAX,
            (true, Device::Cpu) => DEFAULT_CELLS_MAX_CPU,
            (true, Device::Cuda(_)) => DEFAULT_CELLS_MAX_GPU,
        };
        let policy = Policy {
            rows_max: self.rows_max.unwrap_or(DEFAULT_ROWS_MAX).max(1),
            cells_max: self.cells_max.unwrap_or(cells_max).max(1),
            preferred: self.preferred.clone(),
            delay_max: self.delay_max.unwrap_or(DEFAULT_DELAY_MAX),
            padding: if has_length { padding } else { Padding::Skipped },
        };
        Ok(Ok((policy, layout)))
    }
}
