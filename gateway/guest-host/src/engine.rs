//! The wasmtime engines, tuned so that a fresh instance per request is cheap: one for guests of `wasi:http` 0.2, and, from
//! the first guest of 0.3 on, one for those. They are two because an engine that knows the asynchronous component model
//! makes every call into a guest of 0.2 go through its event loop.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

use crate::idle::Idle;

/// Guest instances alive at a time, unless the operator says otherwise. Beyond it requests are told to come back.
pub const INSTANCES_MAX: u32 = 1_000;
/// Linear memory an instance can have at the very most; apps set their own limit below it.
pub const MEMORY_BYTES_MAX: usize = 1 << 32;
/// Core modules, memories and tables within one component: enough for guests that carry a JS or Python engine.
const CORE_INSTANCES_PER_COMPONENT_MAX: u32 = 32;
const MEMORIES_PER_COMPONENT_MAX: u32 = 2;
const TABLES_PER_COMPONENT_MAX: u32 = 8;
/// Elements of one table; engines compiled to Wasm need some ten thousand.
pub(crate) const TABLE_ELEMENTS_MAX: usize = 100_000;
/// Memory of a freed slot that stays mapped for the next instance, where the kernel can say which pages were touched
/// (`PAGEMAP_SCAN`, Linux 6.7). Without it, zeroing what is kept costs more than mapping it again.
const KEEP_RESIDENT_BYTES: usize = 2 << 20;
/// How often a running guest lets other tasks of its thread run, and looks at its deadline.
const EPOCH_TICK: Duration = Duration::from_millis(10);
/// How many ticks pass between two looks for instances that have waited too long for a request.
const TICKS_PER_EXPIRY: u32 = 100;

/// What the instance pool is sized by.
#[derive(Clone, Copy, Debug)]
pub struct PoolOptions {
    /// Guest instances alive at a time.
    pub instances_max: u32,
}

impl Default for PoolOptions {
    fn default() -> Self {
        PoolOptions { instances_max: INSTANCES_MAX }
    }
}

/// The engines, the thread that ticks their epochs, and the instances that wait for reuse. Cheap to clone; the ticking
/// ends with the last clone.
#[derive(Clone)]
pub struct GuestEngine {
    engine: Engine,
    concurrent: Concurrent,
    options: PoolOptions,
    idle: Arc<Idle>,
}

/// The engine for guests of 0.3, once there is one.
type Concurrent = Arc<Mutex<Option<Engine>>>;

impl GuestEngine {
    /// Starts the engine.
    ///
    /// # Errors
    /// When the address space for the pool cannot be reserved, or the ticking thread cannot start.
    pub fn new(options: PoolOptions) -> wasmtime::Result<Self> {
        let engine = make(options, false)?;
        let concurrent = Concurrent::default();
        let idle = Arc::new(Idle::default());
        let (ticked, also, watched) = (engine.clone(), concurrent.clone(), Arc::downgrade(&idle));
        std::thread::Builder::new().name("epoch".into()).spawn(move || tick(&ticked, &also, &watched))?;
        Ok(GuestEngine { engine, concurrent, options, idle })
    }

    /// The wasmtime engine for guests of `wasi:http` 0.2.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The one for guests of 0.3, made when it is asked for first: its pool reserves as much address space again. How many
    /// instances both have alive is limited together, by whoever starts them.
    pub(crate) fn concurrent(&self) -> wasmtime::Result<Engine> {
        let mut made = self.concurrent.lock().unwrap_or_else(PoisonError::into_inner);
        match &*made {
            Some(engine) => Ok(engine.clone()),
            None => Ok(made.insert(make(self.options, true)?).clone()),
        }
    }

    /// The instances that wait for reuse.
    pub(crate) fn idle(&self) -> &Idle {
        &self.idle
    }

    /// What the pool was sized by.
    pub fn options(&self) -> PoolOptions {
        self.options
    }
}

fn make(options: PoolOptions, concurrency: bool) -> wasmtime::Result<Engine> {
    // Only making the engine tells whether the kernel has PAGEMAP_SCAN.
    Engine::new(&config(options, concurrency, true)).or_else(|error| {
        tracing::debug!(%error, "no PAGEMAP_SCAN: freed guest memory is unmapped instead of kept");
        Engine::new(&config(options, concurrency, false))
    })
}

fn config(options: PoolOptions, concurrency: bool, pagemap_scan: bool) -> Config {
    let instances = options.instances_max;
    let keep = if pagemap_scan { KEEP_RESIDENT_BYTES } else { 0 };
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(instances)
        .total_core_instances(instances.saturating_mul(4))
        .total_memories(instances)
        .total_tables(instances.saturating_mul(2))
        // What a guest of 0.3 does at a time may take more than one.
        .total_stacks(if concurrency { instances.saturating_mul(2) } else { instances })
        .max_core_instances_per_component(CORE_INSTANCES_PER_COMPONENT_MAX)
        .max_memories_per_component(MEMORIES_PER_COMPONENT_MAX)
        .max_tables_per_component(TABLES_PER_COMPONENT_MAX)
        .table_elements(TABLE_ELEMENTS_MAX)
        .max_memory_size(MEMORY_BYTES_MAX)
        .linear_memory_keep_resident(keep)
        .table_keep_resident(keep.min(64 << 10))
        .async_stack_keep_resident(keep.min(32 << 10))
        .pagemap_scan(if pagemap_scan { Enabled::Yes } else { Enabled::No });
    let mut config = Config::new();
    config
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool))
        .wasm_component_model(true)
        .concurrency_support(concurrency)
        .wasm_component_model_async(concurrency)
        .epoch_interruption(true);
    config
}

#[expect(clippy::disallowed_methods, reason = "the tick is a clock of its own: it waits for nothing but time")]
fn tick(engine: &Engine, concurrent: &Concurrent, idle: &Weak<Idle>) {
    for count in (0..TICKS_PER_EXPIRY).cycle() {
        std::thread::sleep(EPOCH_TICK);
        engine.increment_epoch();
        if let Some(engine) = &*concurrent.lock().unwrap_or_else(PoisonError::into_inner) {
            engine.increment_epoch();
        }
        match idle.upgrade() {
            Some(idle) if count == 0 => idle.expire(Instant::now()),
            Some(_) => {}
            None => return,
        }
    }
}
