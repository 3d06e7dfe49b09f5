//! How many threads candle takes for one batch.

/// Names the thread count to candle and to rayon; candle asks anew at every matrix product.
const VARIABLE: &str = "RAYON_NUM_THREADS";

/// Makes every model run on its executor's own thread, unless `RAYON_NUM_THREADS` is set already.
///
/// Left alone, candle splits every operation of every model over one set of threads that wait by spinning: on cores that
/// also serve requests two threads were slower than one. It also reads `/proc/cpuinfo` for each matrix product. A server
/// gets its parallelism from batches and from several executors instead.
///
/// # Safety
/// Sets an environment variable: call it while the process has one thread, first thing in `main`.
#[expect(clippy::disallowed_methods, reason = "candle takes its thread count from the environment and nowhere else")]
pub unsafe fn run_each_model_on_one_thread() {
    if std::env::var_os(VARIABLE).is_none() {
        // SAFETY: no other thread reads the environment, as the caller promises.
        unsafe { std::env::set_var(VARIABLE, "1") };
    }
}
