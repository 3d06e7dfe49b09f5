//! A bucket: a JetStream stream laid out as NATS' own key-value buckets are, so that `nats kv` reads it.

use std::time::Duration;

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::context::RequestErrorKind;
use async_nats::jetstream::response::Response;
use async_nats::jetstream::stream::{Config, DiscardPolicy, Info, StorageType};

use super::connection::{Connection, Failure};
use crate::entry::VALUE_BYTES_MAX;
use crate::error::StoreError;
use crate::key::Key;

/// What headers and the subject may add to a value.
const ENVELOPE_BYTES_MAX: usize = 4096;
/// How long the server remembers writes by their ids.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(120);
/// Requests and their answers changed with 2.9; older servers do not know them.
const SERVER_VERSION_MIN: (i64, i64, i64) = (2, 9, 0);

/// Names on the server.
#[derive(Clone)]
pub(super) struct Bucket {
    /// The stream.
    pub stream: String,
    /// What a key's subject begins with, dot included.
    pub subjects: String,
    name: String,
}

/// How it is to be made.
pub(super) struct Layout {
    pub replicas: u8,
    pub history: u8,
    /// Records older than that vanish.
    pub max_age: Option<Duration>,
}

impl Bucket {
    pub fn new(name: String) -> Self {
        Self { stream: format!("KV_{name}"), subjects: format!("$KV.{name}."), name }
    }

    pub fn subject(&self, key: &Key) -> String {
        format!("{}{key}", self.subjects)
    }

    /// The key of a subject; none if somebody wrote by hand what is no key of ours.
    pub fn key(&self, subject: &str) -> Option<Key> {
        let key = subject.strip_prefix(&self.subjects).and_then(|rendered| rendered.parse().ok());
        if key.is_none() {
            tracing::warn!(bucket = self.name, subject, "passed over a record that is not Headland's; remove it");
        }
        key
    }

    /// What is said when the stream is not there.
    pub fn missing(&self, server: &str) -> StoreError {
        StoreError::Misconfigured {
            what: format!("{server} has no bucket {}", self.name),
            remedy:
                "start `headland control` against it, which makes the bucket, and check that the namespace is the same"
                    .into(),
        }
    }

    /// Makes the bucket, or checks the one that is there.
    pub async fn prepare(&self, connection: &Connection, layout: &Layout) -> Result<(), StoreError> {
        let deadline = connection.deadline();
        let found = connection.ask("show its buckets", deadline, || self.info(connection)).await?;
        let old = connection.client.try_server_info().is_some_and(|info| !info.version.is_empty())
            && !connection.client.is_server_compatible(
                SERVER_VERSION_MIN.0,
                SERVER_VERSION_MIN.1,
                SERVER_VERSION_MIN.2,
            );
        if old {
            return Err(StoreError::Misconfigured {
                what: format!("{} runs NATS {}", connection.server, connection.client.server_info().version),
                remedy: "run 2.9 or newer; 2.12.3 or newer is advised".into(),
            });
        }
        let info = match found {
            Some(info) => info,
            None => connection.ask("make a bucket", deadline, || self.make(connection, layout)).await?,
        };
        self.check(&info.config, layout)
    }

    fn check(&self, found: &Config, layout: &Layout) -> Result<(), StoreError> {
        let wanted = layout.max_age.unwrap_or_default();
        if found.max_age != wanted {
            return Err(StoreError::Misconfigured {
                what: format!(
                    "the bucket {} keeps records for {:?}, and {wanted:?} is configured",
                    self.name, found.max_age
                ),
                remedy: format!(
                    "configure the same everywhere; to change it, stop every `headland control`, then `nats stream edit {} --max-age`",
                    self.stream
                ),
            });
        }
        if found.num_replicas != usize::from(layout.replicas) {
            let (bucket, found, wanted) = (&self.name, found.num_replicas, layout.replicas);
            tracing::warn!(
                bucket,
                found,
                wanted,
                "the bucket has another number of replicas; `nats stream edit` changes it"
            );
        }
        Ok(())
    }

    /// What the stream's leader says about it; none if there is no such stream.
    async fn info(&self, connection: &Connection) -> Result<Option<Info>, Failure> {
        let subject = format!("STREAM.INFO.{}", self.stream);
        match connection.jetstream.request(subject, &()).await {
            Ok(Response::Ok(info)) => Ok(Some(info)),
            Ok(Response::Err { error }) if error.error_code() == ErrorCode::STREAM_NOT_FOUND => Ok(None),
            Ok(Response::Err { error }) if error.error_code() == ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT => {
                Err(Failure::Explained(without_jetstream(connection)))
            }
            Ok(Response::Err { error }) => Err(Failure::passing(error)),
            Err(error) if error.kind() == RequestErrorKind::NoResponders => Err(Failure::passing(no_jetstream())),
            Err(error) => Err(Failure::passing(error)),
        }
    }

    async fn make(&self, connection: &Connection, layout: &Layout) -> Result<Info, Failure> {
        let config = self.config(layout);
        match connection.jetstream.request(format!("STREAM.CREATE.{}", self.stream), &config).await {
            Ok(Response::Ok(info)) => {
                tracing::info!(bucket = self.name, replicas = layout.replicas, "made a bucket");
                Ok(info)
            }
            // Another one was quicker.
            Ok(Response::Err { error }) if error.error_code() == ErrorCode::STREAM_NAME_EXIST => {
                self.info(connection).await?.ok_or_else(|| Failure::passing(error))
            }
            Ok(Response::Err { error }) => Err(Failure::passing(error)),
            Err(error) => Err(Failure::passing(error)),
        }
    }

    fn config(&self, layout: &Layout) -> Config {
        let max_age = layout.max_age.unwrap_or_default();
        let window = if max_age.is_zero() { DUPLICATE_WINDOW } else { DUPLICATE_WINDOW.min(max_age) };
        Config {
            name: self.stream.clone(),
            description: Some("Headland".into()),
            subjects: vec![format!("{}>", self.subjects)],
            max_messages_per_subject: layout.history.into(),
            max_bytes: -1,
            max_messages: -1,
            max_consumers: -1,
            max_message_size: i32::try_from(VALUE_BYTES_MAX + ENVELOPE_BYTES_MAX).unwrap_or(i32::MAX),
            discard: DiscardPolicy::New,
            // On disk, leases too: a server that restarts must not forget who leads.
            storage: StorageType::File,
            num_replicas: layout.replicas.into(),
            duplicate_window: window,
            max_age,
            allow_rollup: true,
            deny_delete: true,
            // Direct reads may come from a follower that is behind.
            allow_direct: false,
            ..Config::default()
        }
    }
}

fn no_jetstream() -> Box<dyn std::error::Error + Send + Sync> {
    "nobody answers for JetStream: it is off, or its cluster has no leader".into()
}

fn without_jetstream(connection: &Connection) -> StoreError {
    StoreError::Misconfigured {
        what: format!("JetStream is off for our account at {}", connection.server),
        remedy: "switch it on in the server's configuration (`jetstream {}`) and for the account".into(),
    }
}
