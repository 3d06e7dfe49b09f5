//! What allocates, and how soon it gives memory back to the system.

use std::ffi::{c_int, c_long};

use mimalloc::MiMalloc;

/// A request makes some hundred small allocations, most on one thread and freed on another: what glibc's takes for them is a
/// twentieth of the processor time of a hello request. It asks for no huge pages: a gateway allocates little here and there, and would
/// take 2 MiB for each; weights have memory of their own.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

unsafe extern "C" {
    /// As `mimalloc.h` has it. The crate links it, and has no name for it.
    fn mi_option_set(option: c_int, value: c_long);
}

/// `mi_option_purge_delay` of `mimalloc.h`.
const PURGE_DELAY: c_int = 15;

/// How long memory that nobody uses is kept: a load leaves some 15 MiB behind, and a second of quiet, which is the default, may never
/// come. It was the default of mimalloc's second version.
const PURGE_DELAY_MS: c_long = 10;

/// To be called first of all.
pub fn configure() {
    // SAFETY: it sets one of mimalloc's options to a number; an option that does not exist is passed over.
    unsafe { mi_option_set(PURGE_DELAY, PURGE_DELAY_MS) };
}
