//! One connection, kept up in the background, and requests over it that end in time.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::connection::State;
use async_nats::jetstream::{self, context::ContextBuilder};
use async_nats::{Client, ConnectOptions, Event};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::options::{Login, NatsOptions};
use super::tls;
use crate::backoff::{Backoff, random};
use crate::error::{Cause, StoreError};

/// How long the first attempt may take before the question is put again, the second twice as long: a cluster that chooses a new
/// leader answers nothing meanwhile, and over a slow line an answer takes its time.
pub(super) const ATTEMPT_TIMEOUT: Duration = Duration::from_millis(1500);
/// Messages kept for a listener that does not read; later ones are lost to it.
const LISTENER_QUEUE_MAX: usize = 8192;
/// Between attempts within one call.
const REPEAT: Backoff = Backoff { first: Duration::from_millis(20), most: Duration::from_millis(400) };
/// Between attempts to connect; the longest is an option.
const RECONNECT_FIRST: Duration = Duration::from_millis(50);
/// A server that does not answer this often is taken for dead after two of them.
const PING_EVERY: Duration = Duration::from_secs(5);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Clone)]
pub(super) struct Connection {
    pub client: Client,
    pub jetstream: jetstream::Context,
    /// Counts lost connections: a change says that what was listened to may have been missed.
    pub losses: watch::Receiver<u64>,
    /// Which servers, for errors.
    pub server: Arc<str>,
    last_error: Arc<Mutex<Option<String>>>,
    pub call_timeout: Duration,
}

/// Why one attempt failed. All are tried again until the deadline: servers that start, and clusters that choose leaders, deny
/// for a while what they have.
pub(super) enum Failure {
    /// The server cannot serve now.
    Unavailable(Option<Cause>),
    /// It says what is wrong, and we know what to do.
    Explained(StoreError),
}

impl Connection {
    /// Begins to connect and returns; whether a server is there shows with the first call.
    pub async fn start(options: &NatsOptions) -> Result<Self, StoreError> {
        let (lost, losses) = watch::channel(0);
        let last_error = Arc::default();
        let settings = connect_options(options, lost, Arc::clone(&last_error)).await?;
        let server: Arc<str> = options.servers.to_string().into();
        let connected = settings.connect(options.servers.addresses.clone()).await;
        let client = connected.map_err(|error| StoreError::Misconfigured {
            what: format!("{server} cannot be used: {error}"),
            remedy: "check the address and the credentials".into(),
        })?;
        let whole = options.call_timeout;
        let jetstream =
            ContextBuilder::new().timeout(whole).ack_timeout(ATTEMPT_TIMEOUT.min(whole)).build(client.clone());
        Ok(Self { client, jetstream, losses, server, last_error, call_timeout: options.call_timeout })
    }

    pub fn is_connected(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    /// When a call that begins now has to be done.
    pub fn deadline(&self) -> Instant {
        Instant::now() + self.call_timeout
    }

    /// Puts a question again and again until it is answered or the deadline is over.
    pub async fn ask<T, F: Future<Output = Result<T, Failure>>>(
        &self,
        doing: &str,
        deadline: Instant,
        question: impl Fn() -> F,
    ) -> Result<T, StoreError> {
        let mut failures = 0;
        loop {
            let limit = ATTEMPT_TIMEOUT
                .saturating_mul(1 << failures.min(8))
                .min(deadline.saturating_duration_since(Instant::now()));
            let failure = match timeout(limit, question()).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(failure)) => failure,
                Err(_) => Failure::Unavailable(None),
            };
            failures += 1;
            if !self.pause(failures, deadline).await {
                return Err(self.explain(doing, failure));
            }
        }
    }

    /// Waits before the next attempt; says whether there is time for one.
    pub async fn pause(&self, failures: u32, deadline: Instant) -> bool {
        let delay = REPEAT.delay(failures, random());
        if Instant::now() + delay >= deadline {
            return false;
        }
        sleep(delay).await;
        true
    }

    /// The error of a call whose last attempt failed so.
    pub fn explain(&self, doing: &str, failure: Failure) -> StoreError {
        let cause = match failure {
            Failure::Explained(error) => return error,
            Failure::Unavailable(cause) => cause,
        };
        let last_error = self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone();
        // A connection that cannot be made explains more than a request that was not answered.
        let connecting = (!self.is_connected()).then_some(last_error).flatten();
        let source = connecting.map(|why| Cause::from(Box::<dyn std::error::Error + Send + Sync>::from(why))).or(cause);
        StoreError::Unavailable { server: self.server.to_string(), doing: doing.to_owned(), source }
    }
}

impl Failure {
    pub fn passing(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Unavailable(Some(cause.into().into()))
    }
}

async fn connect_options(
    options: &NatsOptions,
    lost: watch::Sender<u64>,
    last_error: Arc<Mutex<Option<String>>>,
) -> Result<ConnectOptions, StoreError> {
    let reconnect = Backoff { first: RECONNECT_FIRST, most: options.reconnect_delay_max };
    let server = options.servers.to_string();
    let files = options.clone();
    let tls = tokio::task::spawn_blocking(move || tls::client_config(&files)).await;
    let tls = tls.map_err(|error| StoreError::Misconfigured {
        what: format!("reading the TLS files ended with {error}"),
        remedy: "check them".into(),
    })??;
    let mut settings = ConnectOptions::new()
        .name(&options.client_name)
        .tls_client_config(tls)
        .retry_on_initial_connect()
        .connection_timeout(CONNECT_TIMEOUT)
        .ping_interval(PING_EVERY)
        .request_timeout(Some(options.call_timeout))
        .subscription_capacity(LISTENER_QUEUE_MAX)
        .reconnect_delay_callback(move |attempts| match u32::try_from(attempts) {
            Ok(0 | 1) => Duration::ZERO,
            attempts => reconnect.delay(attempts.unwrap_or(u32::MAX), random()),
        })
        .event_callback(move |event| {
            note(&event, &server, &lost, &last_error);
            std::future::ready(())
        });
    settings = match options.servers.login.clone() {
        Some(Login::Password { user, password }) => settings.user_and_password(user, password),
        Some(Login::Token(token)) => settings.token(token),
        None => settings,
    };
    match &options.credentials_file {
        None => Ok(settings),
        Some(path) => settings.credentials_file(path).await.map_err(|error| StoreError::Misconfigured {
            what: format!("the credentials in {} cannot be read: {error}", path.display()),
            remedy: "give a .creds file as `nsc generate creds` writes it".into(),
        }),
    }
}

fn note(event: &Event, server: &str, lost: &watch::Sender<u64>, last_error: &Mutex<Option<String>>) {
    match event {
        Event::Connected => tracing::info!(server, "connected to NATS"),
        Event::Disconnected => {
            tracing::warn!(server, "lost the connection to NATS; what is known stays in use");
            lost.send_modify(|losses| *losses += 1);
        }
        Event::ServerError(_) | Event::ClientError(_) => {
            let mut last = last_error.lock().unwrap_or_else(PoisonError::into_inner);
            let said = event.to_string();
            // Once, not with every attempt.
            if last.as_ref() != Some(&said) {
                tracing::warn!(server, error = said, "NATS");
                *last = Some(said);
            }
        }
        _ => {}
    }
}
