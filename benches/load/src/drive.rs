//! The loop: sends when it is time, reads what is ready, counts.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use rustix::time::{ClockId, clock_gettime};

use crate::connection::Connection;
use crate::outcome::Outcome;
use crate::poll::Poll;
use crate::{Arrivals, answer};

/// The most connections of one load.
const CONNECTIONS_MAX: usize = 4096;
/// The most requests of one load.
const REQUESTS_MAX: u64 = 20_000_000;
/// The longest window of one load.
const WINDOW_MAX: Duration = Duration::from_secs(600);

/// When requests are sent.
pub enum Pace {
    /// Each connection sends its next request when it has its answer.
    Closed,
    /// At these times. One that finds no idle connection waits here, and its latency counts from when it should have gone.
    Open(Arrivals),
}

/// One load.
pub struct Load<'a> {
    /// The server, on this machine.
    pub address: SocketAddr,
    /// Connections kept open; an open loop opens them as it needs them.
    pub connections: usize,
    /// When requests are sent.
    pub pace: Pace,
    /// How long requests are sent for.
    pub window: Duration,
    /// How long answers are waited for after that.
    pub drain: Duration,
    /// Writes the next request.
    pub write: &'a mut dyn FnMut(&mut Vec<u8>),
}

/// Makes the load and waits for its end.
///
/// # Errors
/// A server that is not on loopback or does not answer, or a load out of bounds. Broken connections are counted instead.
pub fn run(load: Load<'_>) -> Result<Outcome> {
    ensure!(load.address.ip().is_loopback(), "{} is not on this machine", load.address);
    ensure!((1..=CONNECTIONS_MAX).contains(&load.connections), "connections must be 1 to {CONNECTIONS_MAX}");
    ensure!(load.window <= WINDOW_MAX, "a window of over {WINDOW_MAX:?}");
    let before = own_cpu();
    let mut outcome = Drive::begin(load)?.finish()?;
    outcome.cpu = own_cpu() - before;
    Ok(outcome)
}

fn own_cpu() -> Duration {
    let spent = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(spent.tv_sec.unsigned_abs(), u32::try_from(spent.tv_nsec).unwrap_or(0))
}

struct Drive<'a> {
    load: Load<'a>,
    poll: Poll,
    connections: Vec<Connection>,
    idle: Vec<usize>,
    /// Intended times of requests that wait for a connection.
    waiting: VecDeque<Instant>,
    /// The next arrival of an open loop.
    next: Option<Instant>,
    sent: u64,
    started: Instant,
    until: Instant,
    outcome: Outcome,
}

impl<'a> Drive<'a> {
    fn begin(load: Load<'a>) -> Result<Self> {
        let mut drive = Drive {
            poll: Poll::new()?,
            connections: Vec::with_capacity(load.connections),
            idle: Vec::with_capacity(load.connections),
            waiting: VecDeque::new(),
            next: None,
            sent: 0,
            started: Instant::now(),
            until: Instant::now(),
            outcome: Outcome::new()?,
            load,
        };
        if let Pace::Closed = drive.load.pace {
            for _ in 0..drive.load.connections {
                drive.connect()?;
            }
        } else {
            drive.connect()?;
        }
        // The clock starts when the connections stand.
        drive.started = Instant::now();
        drive.until = drive.started + drive.load.window;
        drive.outcome.window = drive.load.window;
        Ok(drive)
    }

    fn connect(&mut self) -> Result<()> {
        let connection = Connection::open(self.load.address)?;
        self.poll.add(&connection.stream, self.connections.len())?;
        self.idle.push(self.connections.len());
        self.connections.push(connection);
        Ok(())
    }

    fn finish(mut self) -> Result<Outcome> {
        let given_up = self.until + self.load.drain;
        let mut ready = Vec::new();
        self.next = self.arrival();
        loop {
            let now = Instant::now();
            self.dispatch(now)?;
            let busy = self.idle.len() < self.connections.len() || !self.waiting.is_empty();
            let open = self.next.is_some() || (matches!(self.load.pace, Pace::Closed) && now < self.until);
            if (!busy && !open) || now >= given_up {
                break;
            }
            let wake = self.next.unwrap_or(given_up).min(given_up);
            self.poll.wait(wake, &mut ready)?;
            for key in ready.drain(..) {
                self.serve(key)?;
            }
        }
        let on_their_way = self.connections.iter().filter(|connection| connection.intended.is_some()).count();
        self.outcome.unanswered = (on_their_way + self.waiting.len()) as u64;
        ensure!(self.outcome.requests() > 0, "no request was sent in {:?}", self.load.window);
        Ok(self.outcome)
    }

    /// The next intended send time within the window.
    fn arrival(&mut self) -> Option<Instant> {
        let Pace::Open(arrivals) = &mut self.load.pace else { return None };
        let at = self.started + arrivals.next()?;
        (at < self.until).then_some(at)
    }

    /// Sends all that is due and has a connection.
    fn dispatch(&mut self, now: Instant) -> Result<()> {
        if matches!(self.load.pace, Pace::Closed) {
            while now < self.until
                && let Some(key) = self.idle.pop()
            {
                self.send(key, now)?;
            }
            return Ok(());
        }
        while let Some(at) = self.next.filter(|&at| at <= now) {
            self.waiting.push_back(at);
            self.next = self.arrival();
        }
        while !self.waiting.is_empty() {
            if self.idle.is_empty() && self.connections.len() < self.load.connections {
                self.connect()?;
            }
            let Some(key) = self.idle.pop() else { break };
            if let Some(intended) = self.waiting.pop_front() {
                self.send(key, intended)?;
            }
        }
        Ok(())
    }

    fn send(&mut self, key: usize, intended: Instant) -> Result<()> {
        self.sent += 1;
        if self.sent > REQUESTS_MAX {
            bail!("over {REQUESTS_MAX} requests");
        }
        let connection = &mut self.connections[key];
        match connection.send(intended, self.load.write) {
            Ok(true) => Ok(()),
            Ok(false) => self.poll.writable(&connection.stream, key, true),
            Err(_) => self.broken(key),
        }
    }

    /// Goes on with a connection that is ready.
    fn serve(&mut self, key: usize) -> Result<()> {
        let connection = &mut self.connections[key];
        if connection.unsent() {
            match connection.flush() {
                Ok(true) => self.poll.writable(&connection.stream, key, false)?,
                Ok(false) => return Ok(()),
                Err(_) => return self.broken(key),
            }
        }
        match connection.receive() {
            Ok(None) => Ok(()),
            Ok(Some(head)) => self.answered(key, head),
            Err(_) => self.broken(key),
        }
    }

    fn answered(&mut self, key: usize, head: answer::Head) -> Result<()> {
        let now = Instant::now();
        let Some(intended) = self.connections[key].intended.take() else { return self.broken(key) };
        let took = now.saturating_duration_since(intended);
        self.outcome.count(head.status, head.retry_after, took, now <= self.until);
        if matches!(self.load.pace, Pace::Closed) && now < self.until {
            return self.send(key, now);
        }
        self.idle.push(key);
        Ok(())
    }

    /// Replaces a connection that broke. One that was idle was only closed; a request on it is lost.
    fn broken(&mut self, key: usize) -> Result<()> {
        let connection = Connection::open(self.load.address)?;
        self.poll.add(&connection.stream, key)?;
        let old = std::mem::replace(&mut self.connections[key], connection);
        if old.intended.is_some() {
            self.outcome.broken += 1;
            self.idle.push(key);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::thread;

    use super::*;
    use crate::request;

    /// A server that answers each request after `takes`, one connection at a time.
    fn server(takes: Duration, answer: &'static str) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut buffer = [0; 4096];
                while let Ok(1..) = stream.read(&mut buffer) {
                    thread::park_timeout(takes);
                    stream.write_all(answer.as_bytes()).unwrap();
                }
            }
        });
        address
    }

    fn load(address: SocketAddr, pace: Pace) -> Outcome {
        let mut write = |out: &mut Vec<u8>| request(out, "GET", "/", &[], b"");
        let window = Duration::from_millis(200);
        run(Load { address, connections: 1, pace, window, drain: Duration::from_secs(5), write: &mut write }).unwrap()
    }

    #[test]
    fn an_open_loop_charges_a_slow_server_for_the_wait_and_a_closed_one_does_not() {
        const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
        let takes = Duration::from_millis(10);
        let closed = load(server(takes, OK), Pace::Closed);
        let open = load(server(takes, OK), Pace::Open(Arrivals::constant(500.0)));
        assert_eq!((open.requests(), open.not_ok()), (100, 0));
        assert!(closed.requests() <= 21, "{closed:?}");
        // The last of a hundred was due after 198 ms and answered after a second at the earliest.
        assert!(open.accepted.max() > 750_000, "{}", open.accepted.max());
    }

    #[test]
    fn refusals_are_counted_by_status_and_kept_out_of_the_accepted() {
        const FULL: &str = "HTTP/1.1 503 x\r\nretry-after: 1\r\ncontent-length: 0\r\n\r\n";
        let outcome = load(server(Duration::ZERO, FULL), Pace::Open(Arrivals::constant(100.0)));
        assert_eq!((outcome.statuses.get(&503), outcome.retry_after, outcome.accepted.len()), (Some(&20), 20, 0));
    }

    #[test]
    fn only_this_machine_is_loaded() {
        let mut write = |_: &mut Vec<u8>| {};
        let load = Load {
            address: "192.0.2.1:80".parse().unwrap(),
            connections: 1,
            pace: Pace::Closed,
            window: Duration::ZERO,
            drain: Duration::ZERO,
            write: &mut write,
        };
        assert!(run(load).unwrap_err().to_string().contains("not on this machine"));
    }
}
