//! Messages over plain NATS, under the fleet's namespace.

use std::time::Duration;

use async_nats::client::{Request, RequestErrorKind};
use async_nats::subject::ToSubject;
use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::stream::{BoxStream, StreamExt};

use super::connection::Connection;
use super::options::Namespace;
use crate::bus::{Bus, BusFuture, Message, ReplyTo, check_payload};
use crate::error::{BusError, Cause};
use crate::key::{Subject, Subjects};

/// The bus of a fleet. Cloning shares it.
#[derive(Clone)]
pub struct NatsBus {
    connection: Connection,
    /// Dot included.
    prefix: String,
}

impl NatsBus {
    pub(super) fn new(connection: Connection, namespace: &Namespace) -> Self {
        Self { connection, prefix: format!("{}.", namespace.as_str()) }
    }

    fn subject(&self, subject: &Subject) -> String {
        format!("{}{subject}", self.prefix)
    }

    fn unavailable(&self, doing: &str, cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> BusError {
        let (server, source) = (self.connection.server.to_string(), Some(Cause::from(cause.into())));
        BusError::Unavailable { server, doing: doing.to_owned(), source }
    }

    /// What is sent without a connection would be kept and come late, with much else.
    fn check_connected(&self, doing: &str) -> Result<(), BusError> {
        if self.connection.is_connected() { Ok(()) } else { Err(self.unavailable(doing, "there is no connection")) }
    }

    async fn send(&self, subject: impl ToSubject, payload: Bytes) -> Result<(), BusError> {
        self.check_connected("take messages")?;
        let sent = self.connection.client.publish(subject, payload).await;
        sent.map_err(|error| self.unavailable("take messages", error))
    }
}

impl Bus for NatsBus {
    fn publish<'a>(&'a self, subject: &'a Subject, payload: Bytes) -> BusFuture<'a, ()> {
        async move {
            check_payload(subject, &payload)?;
            self.send(self.subject(subject), payload).await
        }
        .boxed()
    }

    fn subscribe(&self, subjects: Subjects) -> BusFuture<'_, BoxStream<'static, Message>> {
        async move {
            let pattern = format!("{}{}", self.prefix, subjects.pattern());
            let subscribed = self.connection.client.subscribe(pattern).await;
            let messages = subscribed.map_err(|error| self.unavailable("let us listen", error))?;
            let prefix = self.prefix.clone();
            let message = move |message: async_nats::Message| {
                let subject = message.subject.strip_prefix(&prefix).and_then(|subject| subject.parse().ok());
                let reply = message.reply.map(|reply| ReplyTo(reply.as_str().into()));
                // Subjects that are not ours have nothing to say to us.
                std::future::ready(subject.map(|subject| Message { subject, payload: message.payload, reply }))
            };
            Ok(messages.filter_map(message).boxed())
        }
        .boxed()
    }

    fn request<'a>(&'a self, subject: &'a Subject, payload: Bytes, timeout: Duration) -> BusFuture<'a, Bytes> {
        async move {
            check_payload(subject, &payload)?;
            self.check_connected("pass on questions")?;
            let request = Request::new().payload(payload).timeout(Some(timeout));
            let answer = self.connection.client.send_request(self.subject(subject), request).await;
            answer.map(|answer| answer.payload).map_err(|error| match error.kind() {
                RequestErrorKind::TimedOut => {
                    BusError::NoAnswer { subject: subject.clone(), timeout_ms: timeout.as_millis() }
                }
                RequestErrorKind::NoResponders => BusError::NobodyListens { subject: subject.clone() },
                _ => self.unavailable("pass on questions", error),
            })
        }
        .boxed()
    }

    fn respond<'a>(&'a self, message: &'a Message, payload: Bytes) -> BusFuture<'a, ()> {
        async move {
            check_payload(&message.subject, &payload)?;
            let reply = message.reply.as_ref();
            let reply = reply.ok_or_else(|| BusError::NoReplyWanted { subject: message.subject.clone() })?;
            self.send(reply.0.to_string(), payload).await
        }
        .boxed()
    }
}
