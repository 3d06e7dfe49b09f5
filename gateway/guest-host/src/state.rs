//! What one guest instance may touch: its store's data, made anew for each request.

use std::sync::Arc;

use headland_wasi_nn_host::{WasiNnCtx, WasiNnCtxView, WasiNnView};
use wasmtime::ResourceLimiter;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::p2::body::{HostOutgoingBody, StreamContext};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use crate::engine::TABLE_ELEMENTS_MAX;
use crate::outbound::{Outbound, OutboundHooks};

/// Host resources (streams, tensors, headers) one instance may hold.
const RESOURCES_MAX: usize = 1_000;
/// Memory of one set of headers; with the resources above, what a guest can take of the host besides its own memory.
const FIELDS_BYTES_MAX: usize = 64 << 10;

pub(crate) struct GuestState {
    wasi: WasiCtx,
    http: WasiHttpCtx,
    outbound: OutboundHooks,
    nn: WasiNnCtx,
    table: ResourceTable,
    pub memory: MemoryLimiter,
}

impl GuestState {
    pub fn new(wasi: WasiCtx, nn: WasiNnCtx, outbound: Arc<Outbound>, memory_bytes_max: usize) -> Self {
        let mut table = ResourceTable::new();
        table.set_max_capacity(RESOURCES_MAX);
        let mut http = WasiHttpCtx::new();
        http.set_field_size_limit(FIELDS_BYTES_MAX);
        GuestState {
            wasi,
            http,
            outbound: OutboundHooks(outbound),
            nn,
            table,
            memory: MemoryLimiter { bytes_max: memory_bytes_max, bytes: 0, refused: false },
        }
    }
}

impl GuestState {
    /// Breaks off the bodies that the guest left unfinished: wasmtime would end them as if they were whole when the
    /// store is dropped. For when the guest has ended, however it did.
    pub fn abort_unfinished_bodies(&mut self) {
        let unfinished = self.table.iter_mut().filter_map(|entry| entry.downcast_mut::<HostOutgoingBody>());
        for body in unfinished {
            let (nothing, _) = HostOutgoingBody::new(StreamContext::Response, None, 1, 1);
            std::mem::replace(body, nothing).abort();
        }
    }
}

/// Holds an instance to its memory, over all its linear memories, and remembers whether it asked for more.
pub(crate) struct MemoryLimiter {
    bytes_max: usize,
    bytes: usize,
    pub refused: bool,
}

impl ResourceLimiter for MemoryLimiter {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let total = self.bytes.saturating_add(desired.saturating_sub(current));
        if total > self.bytes_max {
            self.refused = true;
            return Ok(false);
        }
        self.bytes = total;
        Ok(true)
    }

    fn table_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired <= TABLE_ELEMENTS_MAX)
    }
}

impl WasiView for GuestState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for GuestState {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { ctx: &mut self.http, table: &mut self.table, hooks: &mut self.outbound }
    }
}

impl WasiNnView for GuestState {
    fn nn(&mut self) -> WasiNnCtxView<'_> {
        WasiNnCtxView { ctx: &mut self.nn, table: &mut self.table }
    }
}
