//! `wasi:nn@0.2.0-rc-2024-10-28` for guests, bound to the model table.
//!
//! Stands between a guest and `headland-batcher`: `load-by-name` looks a model up, `compute` puts a request into its
//! queue and awaits the answer, so that a waiting guest holds no OS thread. The bindings are written out by hand
//! instead of generated, because a hand-written one can take and give `list<u8>` as [`bytes::Bytes`]: tensor data
//! crosses the guest boundary with one copy each way and is shared from there on.
//!
//! Language models answer one `compute` whole, or piece by piece: with `"stream": true` in the tensor `parameters` each
//! further `compute` without inputs gives the next piece, until `finish_reason` is not empty. `llm` offers the same models by
//! the interface that components for Spin know.
//!
//! A guest may load only what its app's manifest lists, and never its own bytes.

mod bindings;
mod convert;
mod llm;
mod resources;

use std::sync::Arc;
use std::time::Instant;

use headland_batcher::{Caller, ModelTable};
use headland_package::{AppName, ModelRef, ModelSelector};
use wasmtime::component::ResourceTable;

pub use bindings::add_to_linker;
pub use convert::ErrorCode;

/// Tensor bytes one guest instance may hold on the host at a time, inputs and outputs together; an app's memory limit, if
/// it is smaller, holds for its tensors too.
pub const TENSOR_BYTES_MAX: usize = 128 << 20;

/// What an app may do with `wasi:nn`. Shared by all its instances.
#[derive(Debug)]
pub struct Grants {
    /// The app, for messages.
    pub app: AppName,
    /// The models it may load; a bare name allows every version.
    pub models: Vec<ModelRef>,
    /// As whom it stands in a model's queue.
    pub caller: Caller,
}

impl Grants {
    /// Whether the app may load `asked`.
    pub fn allows(&self, asked: &ModelRef) -> bool {
        self.models.iter().any(|allowed| {
            allowed.name == asked.name
                && (allowed.selector == ModelSelector::Latest || allowed.selector == asked.selector)
        })
    }
}

/// The state of `wasi:nn` in one guest instance.
pub struct WasiNnCtx {
    models: Arc<ModelTable>,
    grants: Arc<Grants>,
    request_id: Arc<str>,
    deadline: Option<Instant>,
    tensor_bytes: usize,
    tensor_bytes_max: usize,
}

impl WasiNnCtx {
    /// A context over `models` for one request of an app with `grants`, whose calls end at `deadline`, and whose tensors
    /// may take `memory_bytes_max`, or [`TENSOR_BYTES_MAX`] if that is less.
    pub fn new(
        models: Arc<ModelTable>,
        grants: Arc<Grants>,
        request_id: Arc<str>,
        deadline: Option<Instant>,
        memory_bytes_max: usize,
    ) -> Self {
        let tensor_bytes_max = memory_bytes_max.min(TENSOR_BYTES_MAX);
        WasiNnCtx { models, grants, request_id, deadline, tensor_bytes: 0, tensor_bytes_max }
    }

    /// Calls from now on belong to another request of the same instance.
    pub fn begin(&mut self, request_id: Arc<str>, deadline: Option<Instant>) {
        (self.request_id, self.deadline) = (request_id, deadline);
    }
}

/// A borrow of what the host functions need from a store's data.
pub struct WasiNnCtxView<'a> {
    /// The state of `wasi:nn`.
    pub ctx: &'a mut WasiNnCtx,
    /// The instance's resources.
    pub table: &'a mut ResourceTable,
}

/// Implemented by a store's data to offer `wasi:nn`.
pub trait WasiNnView: Send {
    /// Borrows the parts.
    fn nn(&mut self) -> WasiNnCtxView<'_>;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grants(models: &[&str]) -> Grants {
        let models = models.iter().map(|model| model.parse().unwrap()).collect();
        Grants { app: "x".parse().unwrap(), models, caller: Caller::native() }
    }

    #[test]
    fn a_bare_name_allows_every_version_and_a_version_only_itself() {
        for (allowed, asked, expected) in [
            ("m", "m", true),
            ("m", "m:2", true),
            ("m:2", "m:2", true),
            ("m:2", "m", false),
            ("m:2", "m:3", false),
            ("m", "mm", false),
        ] {
            assert_eq!(grants(&[allowed]).allows(&asked.parse().unwrap()), expected, "{allowed} {asked}");
        }
        assert!(!grants(&[]).allows(&"m".parse().unwrap()));
    }
}
