//! What one guest instance may touch: its store's data, made anew for each instance.

use std::sync::Arc;
use std::time::Instant;

use headland_batcher::ModelTable;
use headland_wasi_nn_host::{WasiNnCtx, WasiNnCtxView, WasiNnView};
use wasmtime::ResourceLimiter;
use wasmtime::component::{Linker, ResourceTable};
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};
use wasmtime_wasi_http::p2::body::{HostOutgoingBody, StreamContext};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};
use wasmtime_wasi_io::IoView;

use crate::app::App;
use crate::engine::TABLE_ELEMENTS_MAX;
use crate::outbound::OutboundHooks;
use crate::stdio::{LogStream, Stream};

/// Host resources (streams, tensors, headers) one instance may hold.
const RESOURCES_MAX: usize = 1_000;
/// What a guest of 0.3 may have under way: a task, a thread, a set to wait on count one each, a stream or future three.
pub(crate) const CONCURRENT_MAX: usize = 4_000;
/// Memory of one set of headers; with the resources above, what a guest can take of the host besides its own memory.
const FIELDS_BYTES_MAX: usize = 64 << 10;
/// Random bytes a guest may ask for in one call: making them cannot be interrupted.
const RANDOM_BYTES_MAX: u64 = 256 << 10;

pub(crate) struct GuestState {
    app: Arc<App>,
    request_id: Arc<str>,
    cli: Option<Box<Cli>>,
    http: WasiHttpCtx,
    outbound: OutboundHooks,
    nn: WasiNnCtx,
    table: ResourceTable,
    pub memory: MemoryLimiter,
}

/// Environment, clocks, random numbers, standard streams. Made when a guest first asks for one of them, which many never
/// do: seeding its generators takes longer than all the rest of the state, and it is larger.
struct Cli {
    wasi: WasiCtx,
    streams: [LogStream; 2],
}

impl GuestState {
    pub fn new(app: Arc<App>, models: Arc<ModelTable>, request_id: Arc<str>, deadline: Instant) -> Self {
        let mut table = ResourceTable::new();
        table.set_max_capacity(RESOURCES_MAX);
        let mut http = WasiHttpCtx::new();
        http.set_field_size_limit(FIELDS_BYTES_MAX);
        let bytes_max = usize::try_from(app.limits.memory.0).unwrap_or(usize::MAX);
        GuestState {
            cli: None,
            http,
            outbound: OutboundHooks(app.outbound.clone()),
            nn: WasiNnCtx::new(models, app.grants.clone(), request_id.clone(), Some(deadline), bytes_max),
            table,
            memory: MemoryLimiter { bytes_max, bytes: 0, refused: false },
            app,
            request_id,
        }
    }

    /// What the guest does from now on, it does for another request.
    pub fn begin(&mut self, request_id: Arc<str>, deadline: Instant) {
        self.nn.begin(request_id.clone(), Some(deadline));
        if let Some(cli) = &self.cli {
            cli.streams.iter().for_each(|stream| stream.begin(request_id.clone()));
        }
        self.request_id = request_id;
        self.memory.refused = false;
    }

    /// Breaks off the bodies that the guest left unfinished: wasmtime would end them as if they were whole when the
    /// store is dropped. For when the guest has ended, however it did.
    pub fn abort_unfinished_bodies(&mut self) {
        let unfinished = self.table.iter_mut().filter_map(|entry| entry.downcast_mut::<HostOutgoingBody>());
        for body in unfinished {
            let (nothing, _) = HostOutgoingBody::new(StreamContext::Response, None, 1, 1);
            std::mem::replace(body, nothing).abort();
        }
    }

    /// Host resources the guest holds.
    pub fn resources(&mut self) -> usize {
        self.table.iter_mut().count()
    }
}

impl Cli {
    fn new(app: &App, request_id: &Arc<str>) -> Self {
        let streams =
            [Stream::Stdout, Stream::Stderr].map(|stream| LogStream::new(stream, app.name.clone(), request_id.clone()));
        let wasi = WasiCtxBuilder::new()
            .envs(&app.env)
            .stdout(streams[0].clone())
            .stderr(streams[1].clone())
            .max_random_size(RANDOM_BYTES_MAX)
            .build();
        Cli { wasi, streams }
    }
}

/// Everything a guest can import.
pub(crate) fn add_to_linker(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    // All of wasi:cli, not the proxy world's part of it: ordinary Rust guests import its environment.
    wasmtime_wasi::p2::add_to_linker_async(linker)?;
    // Once more, over the table alone: streams must not make a `Cli`.
    linker.allow_shadowing(true);
    wasmtime_wasi_io::add_to_linker_async(linker)?;
    linker.allow_shadowing(false);
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(linker)?;
    headland_wasi_nn_host::add_to_linker(linker)
}

/// Everything a guest of 0.3 can import: the same and the asynchronous versions of it, over the same state, so under the
/// same grants and limits. Its standard library may still ask for the old ones.
pub(crate) fn add_to_concurrent_linker(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    add_to_linker(linker)?;
    wasmtime_wasi::p3::add_to_linker(linker)?;
    wasmtime_wasi_http::p3::add_to_linker(linker)
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
        let cli = self.cli.get_or_insert_with(|| Box::new(Cli::new(&self.app, &self.request_id)));
        WasiCtxView { ctx: &mut cli.wasi, table: &mut self.table }
    }
}

impl IoView for GuestState {
    fn table(&mut self) -> &mut ResourceTable {
        &mut self.table
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
