//! The bus of one process.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::stream::{self, BoxStream, StreamExt};
use tokio::sync::{mpsc, oneshot};

use crate::bus::{Bus, BusFuture, Message, ReplyTo, check_payload};
use crate::error::BusError;
use crate::key::{Subject, Subjects};

/// Messages kept for a listener that does not read; later ones are lost to it.
const LISTENER_QUEUE_MAX: usize = 4096;

/// Carries messages within the process. Cloning shares it.
#[derive(Clone, Default)]
pub struct RamBus(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    listeners: Vec<(Subjects, mpsc::Sender<Message>)>,
    questions: HashMap<ReplyTo, oneshot::Sender<Bytes>>,
    asked: u64,
}

impl RamBus {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask(&self) -> (Question, oneshot::Receiver<Bytes>) {
        let mut state = self.state();
        state.asked += 1;
        let reply = ReplyTo(state.asked.to_string().into());
        let (sender, answer) = oneshot::channel();
        state.questions.insert(reply.clone(), sender);
        (Question { bus: self.clone(), reply }, answer)
    }
}

impl State {
    /// Gives the message to all who listen; says whether anybody does.
    fn send(&mut self, message: &Message) -> bool {
        self.listeners.retain(|(_, listener)| !listener.is_closed());
        let listeners = self.listeners.iter().filter(|(subjects, _)| subjects.contains(&message.subject));
        listeners.fold(false, |_, (_, listener)| {
            // Full: lost to it, as it would be over a network.
            let _ = listener.try_send(message.clone());
            true
        })
    }
}

/// Forgets the question when nobody waits any more.
struct Question {
    bus: RamBus,
    reply: ReplyTo,
}

impl Drop for Question {
    fn drop(&mut self) {
        self.bus.state().questions.remove(&self.reply);
    }
}

impl Bus for RamBus {
    fn publish<'a>(&'a self, subject: &'a Subject, payload: Bytes) -> BusFuture<'a, ()> {
        async move {
            check_payload(subject, &payload)?;
            self.state().send(&Message { subject: subject.clone(), payload, reply: None });
            Ok(())
        }
        .boxed()
    }

    fn subscribe(&self, subjects: Subjects) -> BusFuture<'_, BoxStream<'static, Message>> {
        async move {
            let (sender, messages) = mpsc::channel(LISTENER_QUEUE_MAX);
            self.state().listeners.push((subjects, sender));
            let next = |mut messages: mpsc::Receiver<Message>| async { messages.recv().await.map(|m| (m, messages)) };
            Ok(stream::unfold(messages, next).boxed())
        }
        .boxed()
    }

    fn request<'a>(&'a self, subject: &'a Subject, payload: Bytes, timeout: Duration) -> BusFuture<'a, Bytes> {
        async move {
            check_payload(subject, &payload)?;
            let (question, answer) = self.ask();
            let message = Message { subject: subject.clone(), payload, reply: Some(question.reply.clone()) };
            if !self.state().send(&message) {
                return Err(BusError::NobodyListens { subject: subject.clone() });
            }
            let no_answer = || BusError::NoAnswer { subject: subject.clone(), timeout_ms: timeout.as_millis() };
            tokio::time::timeout(timeout, answer).await.ok().and_then(Result::ok).ok_or_else(no_answer)
        }
        .boxed()
    }

    fn respond<'a>(&'a self, message: &'a Message, payload: Bytes) -> BusFuture<'a, ()> {
        async move {
            check_payload(&message.subject, &payload)?;
            let reply = message.reply.as_ref();
            let reply = reply.ok_or_else(|| BusError::NoReplyWanted { subject: message.subject.clone() })?;
            if let Some(question) = self.state().questions.remove(reply) {
                // Whoever asked may have gone away just now.
                let _ = question.send(payload);
            }
            Ok(())
        }
        .boxed()
    }
}
