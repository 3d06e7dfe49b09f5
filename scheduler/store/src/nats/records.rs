//! Reading and writing records at the leader of their stream.
//!
//! A write is a message with the revision that it expects. Its answer can be lost, and a cluster sometimes refuses a write
//! whose expectation holds, so each write carries an id: what stands there then says whether it was ours, nobody's, or another's.

use async_nats::header::{NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, NATS_MESSAGE_ID};
use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::context::PublishErrorKind;
use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::stream::{LastRawMessageErrorKind, Stream};
use std::collections::HashMap;

use async_nats::{HeaderMap, HeaderValue};
use bytes::Bytes;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use tokio::time::{Instant, timeout};

use super::bucket::Bucket;
use super::connection::{ATTEMPT_TIMEOUT, Connection, Failure};
use crate::backoff::random;
use crate::entry::{Entry, Revision};
use crate::error::StoreError;
use crate::key::{Key, Prefix};

/// Says what became of a record; a value has none.
const OPERATION: &str = "KV-Operation";
const DELETED: &str = "DEL";
/// Newer servers' word for what they removed by age.
const MARKER_REASON: &str = "Nats-Marker-Reason";
/// Records that are read at a time in a listing.
const READS_AT_ONCE: usize = 64;

#[derive(Clone)]
pub(super) struct Records {
    pub connection: Connection,
    pub bucket: Bucket,
    pub stream: Stream<()>,
}

/// The last message of a key: a value, or the mark of its removal.
pub(super) struct Last {
    pub revision: Revision,
    pub value: Option<Bytes>,
    write: Option<String>,
}

/// What was read at one go.
pub(super) struct Reading {
    pub entries: Vec<Entry>,
    /// Changes after this one are not all in it.
    pub complete_to: u64,
    /// Those after it that are, removals too.
    pub newer: HashMap<Key, Revision>,
}

/// How one attempt to write failed.
enum Refusal {
    /// The revision is another; or the cluster only thinks so.
    Expectation,
    /// It certainly was not written.
    NotSent(Failure),
    /// Nobody knows.
    NoAnswer,
}

impl Records {
    pub async fn open(connection: Connection, bucket: Bucket) -> Result<Self, StoreError> {
        let stream = connection.jetstream.get_stream_no_info(&bucket.stream).await;
        let stream = stream.map_err(|error| StoreError::Misconfigured {
            what: format!("{} is no name of a stream: {error}", bucket.stream),
            remedy: "choose another namespace".into(),
        })?;
        Ok(Self { connection, bucket, stream })
    }

    /// The last message of a key, from the stream's leader.
    pub async fn last(&self, key: &Key, deadline: Instant) -> Result<Option<Last>, StoreError> {
        self.connection.ask("read a record", deadline, || self.try_last(key)).await
    }

    async fn try_last(&self, key: &Key) -> Result<Option<Last>, Failure> {
        match self.stream.get_last_raw_message_by_subject(&self.bucket.subject(key)).await {
            Ok(message) => Ok(Some(Last::from(message))),
            Err(error) => match error.kind() {
                LastRawMessageErrorKind::NoMessageFound => Ok(None),
                LastRawMessageErrorKind::JetStream(said) => Err(self.explain(said)),
                _ => Err(self.explain(error)),
            },
        }
    }

    /// A stream that is not there is for people to see; everything else may pass.
    fn explain(&self, error: impl std::error::Error + Send + Sync + 'static) -> Failure {
        match jetstream_code(&error) {
            Some(ErrorCode::STREAM_NOT_FOUND) => Failure::Explained(self.bucket.missing(&self.connection.server)),
            _ => Failure::passing(error),
        }
    }

    pub async fn get(&self, key: &Key) -> Result<Option<Entry>, StoreError> {
        Ok(self.last(key, self.connection.deadline()).await?.and_then(|last| last.entry(key)))
    }

    /// Everything under a prefix. The names come with one request, the values each with their own, all from the leader: a
    /// consumer could be made on a follower that is behind.
    pub async fn read(&self, prefix: &Prefix, deadline: Instant) -> Result<Reading, StoreError> {
        if let Prefix::Key(key) = prefix {
            let last = self.last(key, deadline).await?;
            let complete_to = last.as_ref().map_or(0, |last| last.revision.0);
            return Ok(Reading::of(last.map(|last| (key.clone(), last)).into_iter().collect(), complete_to));
        }
        let (keys, complete_to) = self.connection.ask("list records", deadline, || self.try_keys(prefix)).await?;
        let read = |key: Key| async move { Ok(self.last(&key, deadline).await?.map(|last| (key, last))) };
        let read = stream::iter(keys).map(read).buffered(READS_AT_ONCE);
        let found = read.try_filter_map(|found| async { Ok::<_, StoreError>(found) }).try_collect().await?;
        Ok(Reading::of(found, complete_to))
    }

    /// The keys under a prefix, removed ones included, by name; and the last revision of the stream before.
    async fn try_keys(&self, prefix: &Prefix) -> Result<(Vec<Key>, u64), Failure> {
        let filter = format!("{}{}", self.bucket.subjects, prefix.pattern());
        let explain = |error| self.explain(error);
        let subjects = self.stream.info_with_subjects(filter).await.map_err(explain)?;
        let complete_to = subjects.info.state.last_sequence;
        let key = |(subject, _): (String, usize)| async move { Ok(self.bucket.key(&subject)) };
        let mut keys: Vec<Key> = subjects.map_err(explain).try_filter_map(key).try_collect().await?;
        keys.sort_unstable();
        Ok((keys, complete_to))
    }

    pub async fn create(&self, key: &Key, value: Bytes) -> Result<Revision, StoreError> {
        let deadline = self.connection.deadline();
        // Most creations are of what never was: no need to look first.
        let mut expected = Revision(0);
        for _ in 0..2 {
            match self.write(key, Some(value.clone()), expected, deadline).await {
                Err(StoreError::Conflict { .. }) => {}
                done => return done,
            }
            match self.last(key, deadline).await? {
                Some(Last { revision, value: Some(_), .. }) => {
                    return Err(StoreError::Exists { key: key.clone(), current: revision });
                }
                Some(removed) => expected = removed.revision,
                None => expected = Revision(0),
            }
        }
        // Removed, written and removed again under our eyes.
        self.write(key, Some(value), expected, deadline).await
    }

    pub async fn update(&self, key: &Key, value: Bytes, seen: Revision) -> Result<Revision, StoreError> {
        self.write(key, Some(value), seen, self.connection.deadline()).await
    }

    pub async fn delete(&self, key: &Key, seen: Option<Revision>) -> Result<(), StoreError> {
        let deadline = self.connection.deadline();
        loop {
            let current = self.last(key, deadline).await?.filter(|last| last.value.is_some()).map(|last| last.revision);
            if let Some(expected) = seen.filter(|seen| current != Some(*seen)) {
                return Err(StoreError::Conflict { key: key.clone(), expected, current });
            }
            let Some(current) = current else { return Ok(()) };
            match self.write(key, None, current, deadline).await {
                // Whatever it was, it was to go.
                Err(StoreError::Conflict { .. }) if seen.is_none() && Instant::now() < deadline => {}
                done => return done.map(drop),
            }
        }
    }

    /// Writes a value, or the mark of its removal, over the message of that revision (0: over none).
    pub async fn write(
        &self,
        key: &Key,
        value: Option<Bytes>,
        expected: Revision,
        deadline: Instant,
    ) -> Result<Revision, StoreError> {
        let id = format!("{:016x}{:016x}", random(), random());
        let (mut failures, mut unanswered) = (0, false);
        loop {
            let failure = match self.publish(key, value.clone(), expected, &id).await {
                Ok(revision) => return Ok(revision),
                Err(Refusal::NotSent(failure)) => failure,
                Err(Refusal::NoAnswer) => {
                    unanswered = true;
                    Failure::Unavailable(None)
                }
                Err(Refusal::Expectation) => match self.judge(key, expected, &id, deadline).await {
                    Ok(Some(revision)) => return Ok(revision),
                    Ok(None) => Failure::passing("it refuses a write whose revision is right"),
                    Err(error) => return Err(if unanswered { self.unknown(key) } else { error }),
                },
            };
            failures += 1;
            if !self.connection.pause(failures, deadline).await {
                let error = self.connection.explain("write a record", failure);
                return Err(if unanswered { self.unknown(key) } else { error });
            }
        }
    }

    fn unknown(&self, key: &Key) -> StoreError {
        StoreError::Unknown { key: key.clone(), server: self.connection.server.to_string() }
    }

    /// After a refusal: whose message stands there? Ours: its revision. The expected one: none, the refusal was wrong.
    async fn judge(
        &self,
        key: &Key,
        expected: Revision,
        id: &str,
        deadline: Instant,
    ) -> Result<Option<Revision>, StoreError> {
        let last = self.last(key, deadline).await?;
        match last {
            Some(last) if last.write.as_deref() == Some(id) => Ok(Some(last.revision)),
            Some(last) if last.revision != expected => {
                let current = last.value.is_some().then_some(last.revision);
                Err(StoreError::Conflict { key: key.clone(), expected, current })
            }
            None if expected.0 != 0 => Err(StoreError::Conflict { key: key.clone(), expected, current: None }),
            _ => Ok(None),
        }
    }

    async fn publish(
        &self,
        key: &Key,
        value: Option<Bytes>,
        expected: Revision,
        id: &str,
    ) -> Result<Revision, Refusal> {
        // A message for a server that is away would be kept, and sent long after we gave up.
        if !self.connection.is_connected() {
            return Err(Refusal::NotSent(Failure::passing("there is no connection")));
        }
        let mut headers = HeaderMap::new();
        headers.insert(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, HeaderValue::from(expected.0));
        headers.insert(NATS_MESSAGE_ID, id);
        if value.is_none() {
            headers.insert(OPERATION, DELETED);
        }
        let subject = self.bucket.subject(key);
        let sent = self.connection.jetstream.publish_with_headers(subject, headers, value.unwrap_or_default()).await;
        let acknowledged = match sent {
            Ok(acknowledgement) => acknowledgement.await,
            Err(error) => Err(error),
        };
        let error = match acknowledged {
            Ok(acknowledged) => return Ok(Revision(acknowledged.sequence)),
            Err(error) => error,
        };
        Err(match error.kind() {
            PublishErrorKind::WrongLastSequence => Refusal::Expectation,
            PublishErrorKind::TimedOut | PublishErrorKind::BrokenPipe => Refusal::NoAnswer,
            // Nobody listens on the subject: no stream, or none that has a leader. Whoever answers a reading knows which.
            PublishErrorKind::StreamNotFound => {
                Refusal::NotSent(match timeout(ATTEMPT_TIMEOUT, self.try_last(key)).await {
                    Ok(Err(explained @ Failure::Explained(_))) => explained,
                    _ => Failure::passing(error),
                })
            }
            // Newer servers' word for it where they do not know the right one.
            _ if jetstream_code(&error) == Some(ErrorCode::STREAM_WRONG_LAST_SEQUENCE_CONSTANT) => Refusal::Expectation,
            _ => Refusal::NotSent(Failure::passing(error)),
        })
    }
}

impl Reading {
    fn of(found: Vec<(Key, Last)>, complete_to: u64) -> Self {
        let newer = found.iter().filter(|(_, last)| last.revision.0 > complete_to);
        let newer = newer.map(|(key, last)| (key.clone(), last.revision)).collect();
        let entries = found.into_iter().filter_map(|(key, last)| last.entry(&key)).collect();
        Self { entries, complete_to, newer }
    }
}

impl Last {
    pub fn entry(self, key: &Key) -> Option<Entry> {
        self.value.map(|value| Entry { key: key.clone(), value, revision: self.revision })
    }
}

impl From<StreamMessage> for Last {
    fn from(message: StreamMessage) -> Self {
        let write = message.headers.get(NATS_MESSAGE_ID).map(|id| id.as_str().to_owned());
        let value = (!is_removal(&message.headers)).then_some(message.payload);
        Self { revision: Revision(message.sequence), value, write }
    }
}

/// The server's own code for what went wrong, if it said anything.
fn jetstream_code(error: &(dyn std::error::Error + 'static)) -> Option<ErrorCode> {
    std::iter::successors(Some(error), |error| error.source())
        .find_map(|error| error.downcast_ref::<async_nats::jetstream::Error>())
        .map(async_nats::jetstream::Error::error_code)
}

pub(super) fn is_removal(headers: &HeaderMap) -> bool {
    // Removals only: values carry no operation, or `PUT`.
    headers.get(OPERATION).is_some_and(|operation| operation.as_str() != "PUT") || headers.get(MARKER_REASON).is_some()
}
