//! Messages that nobody keeps: heartbeats, and questions with one answer.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;

use crate::entry::VALUE_BYTES_MAX;
use crate::error::BusError;
use crate::key::{Subject, Subjects};

/// What an operation of the bus answers.
pub type BusFuture<'a, T> = BoxFuture<'a, Result<T, BusError>>;

/// Carries messages at most once: to whoever listens now, and to nobody later. Those of one sender on one subject come in order.
pub trait Bus: Send + Sync {
    /// Sends. That it was sent does not say that anybody listens.
    fn publish<'a>(&'a self, subject: &'a Subject, payload: Bytes) -> BusFuture<'a, ()>;

    /// Listens, over reconnects too. Messages are lost to a listener that is too slow. Within a process it
    /// listens once this returns, over a network soon after.
    fn subscribe(&self, subjects: Subjects) -> BusFuture<'_, BoxStream<'static, Message>>;

    /// Asks, and waits for the first answer.
    fn request<'a>(&'a self, subject: &'a Subject, payload: Bytes, timeout: Duration) -> BusFuture<'a, Bytes>;

    /// Answers a message that asks.
    fn respond<'a>(&'a self, message: &'a Message, payload: Bytes) -> BusFuture<'a, ()>;
}

/// A message as it arrives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// What it was sent on.
    pub subject: Subject,
    /// What it says; whoever can reach the bus may have written it.
    pub payload: Bytes,
    /// Where its answer goes; none if it does not ask.
    pub reply: Option<ReplyTo>,
}

/// The place where one question waits for its answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ReplyTo(pub(crate) Box<str>);

pub(crate) fn check_payload(subject: &Subject, payload: &Bytes) -> Result<(), BusError> {
    if payload.len() > VALUE_BYTES_MAX {
        return Err(BusError::TooLarge { subject: subject.clone(), bytes: payload.len() });
    }
    Ok(())
}
