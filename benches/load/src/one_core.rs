//! Puts a client and servers on one core, for requests that come one at a time. Each waits while the other works, so one core is
//! all they need; on two, every request and every answer wakes a core that has gone to sleep, which on a virtual machine takes
//! the hypervisor longer than a small request takes altogether. That is the machine's time and not the server's.

use std::fs;
use std::io;

use anyhow::{Context, Result};

/// The calling thread and all threads of some processes run on one core while this lives.
pub struct OneCore {
    /// Where each of them could run before.
    before: Vec<(libc::pid_t, libc::cpu_set_t)>,
}

/// The calling thread, to the kernel.
const ITSELF: libc::pid_t = 0;

impl OneCore {
    /// Begins now, with the first core that the calling thread may use.
    ///
    /// # Errors
    /// A process that is not there, or the system refuses.
    pub fn new(processes: &[u32]) -> Result<Self> {
        let mut threads = vec![ITSELF];
        for process in processes {
            let tasks = format!("/proc/{process}/task");
            for task in fs::read_dir(&tasks).with_context(|| format!("reading {tasks}"))? {
                threads.extend(task?.file_name().to_string_lossy().parse::<libc::pid_t>());
            }
        }
        let mut one_core = OneCore { before: Vec::with_capacity(threads.len()) };
        let core = first(&allowed(ITSELF)?).context("no core to run on")?;
        for thread in threads {
            // A thread may have ended since it was listed.
            let Ok(before) = allowed(thread) else { continue };
            allow(thread, &core).context("cannot put threads on one core")?;
            one_core.before.push((thread, before));
        }
        Ok(one_core)
    }
}

impl Drop for OneCore {
    fn drop(&mut self) {
        for (thread, before) in &self.before {
            // One that has ended needs no core.
            let _ = allow(*thread, before);
        }
    }
}

fn none() -> libc::cpu_set_t {
    // SAFETY: it is an array of bits, and none of them set is a value of it.
    unsafe { std::mem::zeroed() }
}

fn first(cores: &libc::cpu_set_t) -> Option<libc::cpu_set_t> {
    let limit = usize::try_from(libc::CPU_SETSIZE).ok()?;
    // SAFETY: every bit asked for is within the set.
    let core = (0..limit).find(|&core| unsafe { libc::CPU_ISSET(core, cores) })?;
    let mut alone = none();
    // SAFETY: the same.
    unsafe { libc::CPU_SET(core, &mut alone) };
    Some(alone)
}

fn allowed(thread: libc::pid_t) -> io::Result<libc::cpu_set_t> {
    let mut cores = none();
    // SAFETY: the set outlives the call, and its size is said.
    match unsafe { libc::sched_getaffinity(thread, size_of::<libc::cpu_set_t>(), &raw mut cores) } {
        0 => Ok(cores),
        _ => Err(io::Error::last_os_error()),
    }
}

fn allow(thread: libc::pid_t, cores: &libc::cpu_set_t) -> io::Result<()> {
    // SAFETY: the set outlives the call, and its size is said.
    match unsafe { libc::sched_setaffinity(thread, size_of::<libc::cpu_set_t>(), &raw const *cores) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};

    use super::*;

    fn cores(thread: libc::pid_t) -> i32 {
        // SAFETY: it only counts.
        unsafe { libc::CPU_COUNT(&allowed(thread).unwrap()) }
    }

    fn ends(mut child: Child) {
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn all_are_on_one_core_until_it_ends() {
        let child = Command::new("sleep").arg("60").stdout(Stdio::null()).spawn().unwrap();
        let of_child = libc::pid_t::try_from(child.id()).unwrap();
        let before = (cores(ITSELF), cores(of_child));
        let one_core = OneCore::new(&[child.id()]).unwrap();
        assert_eq!((cores(ITSELF), cores(of_child)), (1, 1));
        drop(one_core);
        assert_eq!((cores(ITSELF), cores(of_child)), before);
        ends(child);
    }

    #[test]
    fn a_process_that_is_not_there_is_named() {
        let error = OneCore::new(&[u32::MAX]).err().unwrap();
        assert!(error.to_string().contains("/proc/4294967295/task"), "{error}");
    }
}
