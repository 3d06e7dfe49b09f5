//! A copy of watched records that is right after reconnects too.

use std::collections::BTreeMap;

use crate::entry::{Entry, Event};
use crate::key::Key;

/// Applies the events of one watch, and says what they changed.
#[derive(Clone, Debug, Default)]
pub struct Mirror {
    entries: BTreeMap<Key, Entry>,
    is_current: bool,
}

impl Mirror {
    /// Takes an event in, and returns the keys whose records are others than before or gone, each once.
    pub fn apply(&mut self, event: Event) -> Vec<Key> {
        match event {
            Event::Snapshot(entries) => {
                self.is_current = true;
                self.replace(entries)
            }
            Event::Put(entry) => {
                if self.get(&entry.key).is_some_and(|known| known.revision >= entry.revision) {
                    return Vec::new();
                }
                let key = entry.key.clone();
                self.entries.insert(key.clone(), entry);
                vec![key]
            }
            Event::Deleted { key, revision } => {
                if self.get(&key).is_none_or(|known| known.revision >= revision) {
                    return Vec::new();
                }
                self.entries.remove(&key);
                vec![key]
            }
            Event::Interrupted { .. } => {
                self.is_current = false;
                Vec::new()
            }
        }
    }

    fn replace(&mut self, entries: Vec<Entry>) -> Vec<Key> {
        let new: BTreeMap<Key, Entry> = entries.into_iter().map(|entry| (entry.key.clone(), entry)).collect();
        let gone = self.entries.keys().filter(|key| !new.contains_key(*key));
        let written = new.values().filter(|entry| self.entries.get(&entry.key) != Some(*entry)).map(|entry| &entry.key);
        let changed = gone.chain(written).cloned().collect();
        self.entries = new;
        changed
    }

    /// The record of a key.
    pub fn get(&self, key: &Key) -> Option<&Entry> {
        self.entries.get(key)
    }

    /// All records, by key.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }

    /// Whether the store is being heard: a snapshot came, and no interruption after it.
    pub fn is_current(&self) -> bool {
        self.is_current
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::entry::Revision;

    fn entry(part: &str, revision: u64) -> Entry {
        Entry { key: key(part), value: Bytes::from(revision.to_string()), revision: Revision(revision) }
    }

    fn key(part: &str) -> Key {
        Key::new("k", [part]).unwrap()
    }

    #[test]
    fn a_snapshot_removes_what_it_does_not_tell() {
        let mut mirror = Mirror::default();
        assert_eq!(mirror.apply(Event::Snapshot(vec![entry("a", 1), entry("b", 2)])), [key("a"), key("b")]);
        assert_eq!(mirror.apply(Event::Snapshot(vec![entry("b", 2), entry("c", 3)])), [key("a"), key("c")]);
        assert_eq!(mirror.entries().map(|entry| entry.revision.0).collect::<Vec<_>>(), [2, 3]);
    }

    #[test]
    fn what_is_older_than_what_is_known_changes_nothing() {
        let mut mirror = Mirror::default();
        assert_eq!(mirror.apply(Event::Put(entry("a", 5))), [key("a")]);
        assert_eq!(mirror.apply(Event::Put(entry("a", 4))), []);
        assert_eq!(mirror.apply(Event::Deleted { key: key("a"), revision: Revision(3) }), []);
        assert_eq!(mirror.get(&key("a")), Some(&entry("a", 5)));
        assert_eq!(mirror.apply(Event::Deleted { key: key("a"), revision: Revision(6) }), [key("a")]);
        assert_eq!(mirror.get(&key("a")), None);
    }

    #[test]
    fn it_is_current_from_a_snapshot_to_an_interruption() {
        let mut mirror = Mirror::default();
        assert!(!mirror.is_current());
        mirror.apply(Event::Snapshot(vec![entry("a", 1)]));
        assert!(mirror.is_current());
        assert_eq!(mirror.apply(Event::Interrupted { reason: "gone".into() }), []);
        assert!(!mirror.is_current() && mirror.get(&key("a")).is_some());
    }
}
