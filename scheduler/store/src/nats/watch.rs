//! A watch over NATS: read everything, then follow a consumer; begin anew whenever something may have been missed.
//!
//! A consumer sends what comes after the reading, numbers its messages, and says now and then how many there were. A gap in
//! the numbers, silence, or a connection that was lost in between end a round; so does its age, in case of what nobody noticed.

use std::collections::HashMap;
use std::time::Duration;

use async_nats::jetstream::Message as Delivery;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, ReplayPolicy, push};
use async_nats::{Message, StatusCode, Subscriber};
use futures_util::stream::{self, BoxStream, StreamExt};
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};

use super::connection::Failure;
use super::records::{Reading, Records, is_removal};
use crate::backoff::{Backoff, random, spread};
use crate::entry::{Entry, Event, Revision};
use crate::error::StoreError;
use crate::key::{Key, Prefix};

/// How often a consumer says that it lives.
const HEARTBEAT_EVERY: Duration = Duration::from_secs(3);
/// How long it may say nothing.
const SILENCE_MAX: Duration = Duration::from_secs(8);
/// How long the server keeps a consumer that nobody listens to.
const CONSUMER_IDLE: Duration = Duration::from_secs(30);
/// Between rounds that fail.
const RETRY: Backoff = Backoff { first: Duration::from_millis(100), most: Duration::from_secs(15) };
/// Events kept for a reader that does not read; beyond them the server's wait, and beyond those a round ends.
const EVENTS_AHEAD_MAX: usize = 256;
/// In heartbeats: the number of the last message before.
const LAST_CONSUMER: &str = "Nats-Last-Consumer";

/// Why a round ended.
enum End {
    /// It is old enough.
    Age,
    /// The reader has gone.
    Reader,
    /// Something may have been missed.
    Broken(String),
}

impl From<StoreError> for End {
    fn from(error: StoreError) -> Self {
        Self::Broken(error.to_string())
    }
}

struct Watch {
    records: Records,
    prefix: Prefix,
    events: mpsc::Sender<Event>,
    refresh_every: Duration,
    failures: u32,
}

/// Runs in a task of its own until the stream is dropped.
pub(super) fn watch(records: Records, prefix: Prefix, refresh_every: Duration) -> BoxStream<'static, Event> {
    let (events, told) = mpsc::channel(EVENTS_AHEAD_MAX);
    tokio::spawn(Watch { records, prefix, events, refresh_every, failures: 0 }.run());
    stream::unfold(told, |mut told| async move { told.recv().await.map(|event| (event, told)) }).boxed()
}

impl Watch {
    async fn run(mut self) {
        loop {
            match self.round().await {
                End::Reader => return,
                End::Age => {}
                End::Broken(reason) => {
                    self.failures += 1;
                    tracing::debug!(prefix = %self.prefix, reason, failures = self.failures, "a watch begins anew");
                    // Told once; what follows is the snapshot.
                    if self.failures == 1 && self.events.send(Event::Interrupted { reason }).await.is_err() {
                        return;
                    }
                    tokio::select! {
                        () = sleep(RETRY.delay(self.failures, random())) => {}
                        () = self.events.closed() => return,
                    }
                }
            }
        }
    }

    async fn round(&mut self) -> End {
        let mut losses = self.records.connection.losses.clone();
        losses.mark_unchanged();
        let begun = tokio::select! {
            begun = self.begin() => begun,
            () = self.events.closed() => return End::Reader,
        };
        let (mut follower, snapshot) = match begun {
            Ok(begun) => begun,
            Err(end) => return end,
        };
        if self.events.send(Event::Snapshot(snapshot)).await.is_err() {
            return End::Reader;
        }
        self.failures = 0;
        let age = sleep(spread(self.refresh_every, random()));
        tokio::select! {
            end = follower.follow(&self.events) => end,
            () = age => End::Age,
            () = changed(&mut losses) => End::Broken("the connection was lost".into()),
            () = self.events.closed() => End::Reader,
        }
    }

    /// Reads everything, and makes a consumer for what comes after.
    async fn begin(&self) -> Result<(Follower, Vec<Entry>), End> {
        let connection = &self.records.connection;
        let deadline = connection.deadline();
        let inbox = connection.client.new_inbox();
        let subscribed = connection.client.subscribe(inbox.clone()).await;
        let deliveries = subscribed.map_err(|error| End::Broken(error.to_string()))?;
        let Reading { entries, complete_to, newer } = self.records.read(&self.prefix, deadline).await?;
        let config = self.consumer(inbox, complete_to);
        let make = || async {
            let made =
                connection.jetstream.create_consumer_on_stream(config.clone(), &self.records.bucket.stream).await;
            made.map_err(Failure::passing)
        };
        connection.ask("follow records", deadline, make).await?;
        let (records, prefix, context) = (self.records.clone(), self.prefix.clone(), connection.jetstream.clone());
        let follower = Follower { records, prefix, deliveries, context, complete_to, newer, delivered: 0 };
        Ok((follower, entries))
    }

    fn consumer(&self, deliver_subject: String, complete_to: u64) -> push::Config {
        push::Config {
            deliver_subject,
            filter_subject: format!("{}{}", self.records.bucket.subjects, self.prefix.pattern()),
            deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: complete_to + 1 },
            ack_policy: AckPolicy::None,
            replay_policy: ReplayPolicy::Instant,
            idle_heartbeat: HEARTBEAT_EVERY,
            inactive_threshold: CONSUMER_IDLE,
            memory_storage: true,
            num_replicas: 1,
            ..push::Config::default()
        }
    }
}

async fn changed(losses: &mut watch::Receiver<u64>) {
    if losses.changed().await.is_err() {
        // The client is gone, and its subscription ends by itself.
        std::future::pending().await
    }
}

struct Follower {
    records: Records,
    prefix: Prefix,
    deliveries: Subscriber,
    context: async_nats::jetstream::Context,
    /// Everything up to this revision was in the snapshot.
    complete_to: u64,
    /// What the snapshot knows of later revisions.
    newer: HashMap<Key, Revision>,
    delivered: u64,
}

impl Follower {
    async fn follow(&mut self, events: &mpsc::Sender<Event>) -> End {
        loop {
            let message = match timeout(SILENCE_MAX, self.deliveries.next()).await {
                Ok(Some(message)) => message,
                Ok(None) => return End::Broken("the subscription ended".into()),
                Err(_) => return End::Broken("the server says nothing any more".into()),
            };
            let event = match self.take(message) {
                Ok(event) => event,
                Err(reason) => return End::Broken(reason.into()),
            };
            if let Some(event) = event
                && events.send(event).await.is_err()
            {
                return End::Reader;
            }
        }
    }

    /// What a message tells, if it tells anything new; or why the round is over.
    fn take(&mut self, message: Message) -> Result<Option<Event>, &'static str> {
        if let Some(status) = message.status {
            return self.check_status(status, &message).map(|()| None);
        }
        let delivery = Delivery { message, context: self.context.clone() };
        let info = delivery.info().map_err(|_| "a message came that no consumer sends")?;
        let (number, revision) = (info.consumer_sequence, Revision(info.stream_sequence));
        self.delivered += 1;
        if number != self.delivered {
            return Err("messages were lost");
        }
        let Some(key) = self.records.bucket.key(&delivery.message.subject) else { return Ok(None) };
        Ok(self.event(key, revision, delivery.message))
    }

    fn event(&mut self, key: Key, revision: Revision, message: Message) -> Option<Event> {
        let known = self.newer.get(&key).is_some_and(|known| *known >= revision);
        if known || revision.0 <= self.complete_to || !self.prefix.contains(&key) {
            return None;
        }
        self.newer.remove(&key);
        let removed = message.headers.as_ref().is_some_and(is_removal);
        Some(match removed {
            true => Event::Deleted { key, revision },
            false => Event::Put(Entry { key, value: message.payload, revision }),
        })
    }

    fn check_status(&self, status: StatusCode, message: &Message) -> Result<(), &'static str> {
        if status != StatusCode::IDLE_HEARTBEAT {
            return Err("the server ended the consumer");
        }
        let last = message.headers.as_ref().and_then(|headers| headers.get(LAST_CONSUMER));
        let last = last.and_then(|last| last.as_str().parse::<u64>().ok());
        if last.is_some_and(|last| last != self.delivered) { Err("messages were lost") } else { Ok(()) }
    }
}
