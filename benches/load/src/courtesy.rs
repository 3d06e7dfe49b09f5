//! Lets a server under test have the processors: a client that is woken for every answer takes its core away from a server
//! that has more to do, answers one request, and sleeps again. Where a request takes microseconds, that is a good part of what is
//! measured, and more of it the slower the server. Where it takes milliseconds it is nothing, and a client that waits for
//! its turn would leave the server without work.

use std::io;

use anyhow::{Context, Result};

/// The calling thread, and processes it starts, take no core away from others while this lives: they run when one is free or
/// their turn has come, a client with all answers that are there by then.
pub struct Courtesy(());

impl Courtesy {
    /// Begins now.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn new() -> Result<Self> {
        schedule_as(libc::SCHED_BATCH).context("cannot run the client as SCHED_BATCH")?;
        Ok(Courtesy(()))
    }
}

impl Drop for Courtesy {
    fn drop(&mut self) {
        // What was allowed before is allowed again.
        let _ = schedule_as(libc::SCHED_OTHER);
    }
}

fn schedule_as(policy: libc::c_int) -> io::Result<()> {
    let parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: 0 is the calling thread, and the parameters outlive the call.
    match unsafe { libc::sched_setscheduler(0, policy, &raw const parameters) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> libc::c_int {
        // SAFETY: it only asks, about the calling thread.
        unsafe { libc::sched_getscheduler(0) }
    }

    #[test]
    fn it_ends_where_it_began() {
        let before = policy();
        let courtesy = Courtesy::new().unwrap();
        assert_eq!(policy(), libc::SCHED_BATCH);
        drop(courtesy);
        assert_eq!(policy(), before);
    }
}
