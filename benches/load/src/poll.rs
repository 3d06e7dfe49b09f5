//! `epoll` with deadlines by a timer of its own: an open loop needs them finer than the millisecond that `epoll_wait` knows.

use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use anyhow::Result;
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

/// Connections told of at a time.
const EVENTS_MAX: usize = 256;
/// The timer's key: no connection has it.
const TIMER: u64 = u64::MAX;
const NEVER: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

/// The connections that are waited for.
pub struct Poll {
    epoll: OwnedFd,
    timer: OwnedFd,
    /// What the timer is set to.
    armed: Option<Instant>,
    events: Vec<Event>,
}

impl Poll {
    /// Waits for none yet.
    pub fn new() -> Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?;
        epoll::add(&epoll, &timer, EventData::new_u64(TIMER), EventFlags::IN)?;
        Ok(Poll { epoll, timer, armed: None, events: Vec::with_capacity(EVENTS_MAX) })
    }

    /// Waits for answers on this one too, and calls it `key`.
    pub fn add(&self, stream: &TcpStream, key: usize) -> Result<()> {
        Ok(epoll::add(&self.epoll, stream, EventData::new_u64(key as u64), EventFlags::IN)?)
    }

    /// Waits until it can be written to as well, or no longer.
    pub fn writable(&self, stream: &TcpStream, key: usize, wanted: bool) -> Result<()> {
        let flags = if wanted { EventFlags::IN | EventFlags::OUT } else { EventFlags::IN };
        Ok(epoll::modify(&self.epoll, stream, EventData::new_u64(key as u64), flags)?)
    }

    /// Puts the keys of those that are ready into `ready`; none when `until` comes first.
    pub fn wait(&mut self, until: Instant, ready: &mut Vec<usize>) -> Result<()> {
        self.events.clear();
        ready.clear();
        let past = self.arm(until)?;
        match epoll::wait(&self.epoll, spare_capacity(&mut self.events), past.then_some(&NEVER)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in &self.events {
            match event.data.u64() {
                // Setting it again clears it.
                TIMER => self.armed = None,
                key => ready.push(key as usize),
            }
        }
        Ok(())
    }

    /// Sets the timer, if it is not set so already. True when there is nothing to wait for.
    fn arm(&mut self, until: Instant) -> Result<bool> {
        if self.armed == Some(until) {
            return Ok(false);
        }
        let remaining = until.saturating_duration_since(Instant::now());
        if remaining < Duration::from_nanos(1) {
            return Ok(true);
        }
        let setting = Itimerspec { it_interval: NEVER, it_value: Timespec::try_from(remaining)? };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &setting)?;
        self.armed = Some(until);
        Ok(false)
    }
}
