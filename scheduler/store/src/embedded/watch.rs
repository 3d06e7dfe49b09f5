//! A watch within the process: a snapshot, then the changes after it; a snapshot again for who fell behind.

use futures_util::stream::{self, BoxStream, StreamExt};
use tokio::sync::broadcast::{self, error::RecvError};

use super::Reader;
use super::file::Changed;
use crate::entry::{Event, Revision};
use crate::key::Prefix;

struct Watch {
    reader: Reader,
    changes: broadcast::Receiver<Changed>,
    prefix: Prefix,
    state: State,
}

enum State {
    /// A snapshot is to be told.
    Due,
    /// What was told holds everything up to here.
    Told(Revision),
    /// The file could not be read; the next change is the occasion to try again.
    Failed,
}

/// Begins at once: what changes from now on is told, in the snapshot or after it.
pub(super) fn watch(reader: Reader, changes: broadcast::Sender<Changed>, prefix: Prefix) -> BoxStream<'static, Event> {
    let watch = Watch { reader, changes: changes.subscribe(), prefix, state: State::Due };
    // Only a receiver is kept: the stream ends with the store.
    drop(changes);
    stream::unfold(watch, |mut watch| async move { watch.next().await.map(|event| (event, watch)) }).boxed()
}

impl Watch {
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let State::Due = self.state {
                return Some(self.snapshot().await);
            }
            let changed = match self.changes.recv().await {
                Ok(changed) => changed,
                Err(RecvError::Lagged(_)) => {
                    self.state = State::Due;
                    continue;
                }
                Err(RecvError::Closed) => return None,
            };
            match self.state {
                State::Told(told) => {
                    if let Some(event) = self.event(changed, told) {
                        return Some(event);
                    }
                }
                State::Due | State::Failed => self.state = State::Due,
            }
        }
    }

    /// What a change is to this watch: nothing if it is of other keys, or was in the snapshot.
    fn event(&self, changed: Changed, told: Revision) -> Option<Event> {
        match changed {
            Changed::Put(entry) => {
                (entry.revision > told && self.prefix.contains(&entry.key)).then_some(Event::Put(entry))
            }
            Changed::Deleted(key, revision) => {
                (revision > told && self.prefix.contains(&key)).then_some(Event::Deleted { key, revision })
            }
        }
    }

    /// Subscribes before it reads, so that no change falls in between; what waited is in the snapshot.
    async fn snapshot(&mut self) -> Event {
        self.changes = self.changes.resubscribe();
        let prefix = self.prefix.clone();
        match self.reader.read(move |file| file.list(&prefix)).await {
            Ok((entries, revision)) => {
                self.state = State::Told(revision);
                Event::Snapshot(entries)
            }
            Err(error) => {
                self.state = State::Failed;
                Event::Interrupted { reason: error.to_string() }
            }
        }
    }
}
