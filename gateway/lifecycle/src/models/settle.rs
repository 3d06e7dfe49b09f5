//! After a load, before anybody is served: memory that only loading needed goes back to the system.

use headland_nn_core::ModelFiles;
use headland_package::mapped;

/// Lets the pages of `files` go, and what was allocated and freed on the way. Blocks for some milliseconds.
pub(super) fn settle(files: &ModelFiles) {
    // What was packed for the kernels is not read again; what is comes back out of the page cache.
    files.iter().for_each(|(_, bytes)| mapped::release(bytes));
    return_free_memory();
}

/// A contest between backends leaves over 100 MB behind, in heaps that the allocator keeps for later.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn return_free_memory() {
    // SAFETY: it takes no pointer, and may be called at any time from any thread.
    unsafe { libc::malloc_trim(0) };
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn return_free_memory() {}
