//! What the control store holds, in memory: models, aliases, apps, the trust policy, and what operators want of PoPs.
//!
//! Filled by a watch, and filled anew whenever the watch begins anew, so that a change missed while the store was away is not
//! missed for good. What cannot be read is left out and said, and hides nothing else.

use std::collections::BTreeMap;

use headland_control_store::{Entry, Event, Key, Revision};
use headland_fleet::{
    Aliases, AppRecord, Document, DocumentError, Intent, ModelKey, ModelRecord, PolicyRecord, PopRecord, kind,
};
use headland_package::{ModelName, PopId};

use crate::policy::{Allowed, Rules};
use crate::rollout::Rollout;

/// A record, and the revision it was read at.
#[derive(Clone, Debug, PartialEq)]
pub struct Kept<T> {
    /// The record.
    pub record: T,
    /// Its revision.
    pub revision: Revision,
}

/// The records of one kind, by key.
pub type Shelf<T> = BTreeMap<Key, Kept<T>>;

/// The records.
#[derive(Debug, Default)]
pub struct Books {
    /// Every version of every model.
    pub models: Shelf<ModelRecord>,
    /// The aliases of each model.
    pub aliases: Shelf<Aliases>,
    /// The apps that are deployed.
    pub apps: Shelf<AppRecord>,
    /// What operators want of PoPs.
    pub pops: Shelf<PopRecord>,
    /// Rollouts that run, and how those that ended did.
    pub rollouts: Shelf<Rollout>,
    /// The trust policy, if one was told.
    pub policies: Shelf<PolicyRecord>,
    /// The same, ready to be held against models.
    rules: Option<Rules>,
}

/// The kinds of records that are kept here, each followed by a watch of its own.
pub const KINDS: [&str; 6] = [kind::MODEL, kind::ALIASES, kind::APP, kind::POP, kind::ROLLOUT, kind::POLICY];

/// What could not be read, and why.
pub type Unread = Vec<(Key, DocumentError)>;

impl Books {
    /// Takes in what the watch of `kind` tells; what of it could not be read.
    pub fn apply(&mut self, kind: &str, event: Event) -> Unread {
        match kind {
            kind::MODEL => on(&mut self.models, event),
            kind::ALIASES => on(&mut self.aliases, event),
            kind::APP => on(&mut self.apps, event),
            kind::POP => on(&mut self.pops, event),
            kind::ROLLOUT => on(&mut self.rollouts, event),
            kind::POLICY => {
                let unread = on(&mut self.policies, event);
                self.rules = self.policy().and_then(|kept| read_rules(&kept.record));
                unread
            }
            _ => Vec::new(),
        }
    }

    /// The trust policy, if one was told.
    pub fn policy(&self) -> Option<&Kept<PolicyRecord>> {
        self.policies.values().next()
    }

    /// Where the policy lets a model run.
    pub fn allowed(&self, model: &ModelName) -> Allowed<'_> {
        self.rules.as_ref().map_or(Allowed::Unknown, |rules| rules.allowed(model))
    }

    /// What an operator wants of `pop`.
    pub fn intent(&self, pop: &PopId) -> Intent {
        let record = |key| self.pops.get(&key).map(|kept| kept.record.intent);
        Key::new(kind::POP, [pop.as_str()]).ok().and_then(record).unwrap_or_default()
    }

    /// The record of a version.
    pub fn model(&self, key: &ModelKey) -> Option<&ModelRecord> {
        let key = Key::new(kind::MODEL, [key.name.as_str(), key.version.as_str()]).ok()?;
        self.models.get(&key).map(|kept| &kept.record)
    }

    /// The rollout of a model.
    pub fn rollout(&self, name: &ModelName) -> Option<&Kept<Rollout>> {
        self.rollouts.get(&Key::new(kind::ROLLOUT, [name.as_str()]).ok()?)
    }
}

/// A record with a rule that cannot be read was not written by us; nothing is planned by it.
fn read_rules(record: &PolicyRecord) -> Option<Rules> {
    Rules::of(record).inspect_err(|why| tracing::error!("the policy record is not planned by: {why}")).ok()
}

fn on<T: Document>(shelf: &mut Shelf<T>, event: Event) -> Unread {
    match event {
        Event::Snapshot(entries) => {
            shelf.clear();
            entries.into_iter().filter_map(|entry| put(shelf, entry).err()).collect()
        }
        Event::Put(entry) => put(shelf, entry).err().into_iter().collect(),
        Event::Deleted { key, .. } => {
            shelf.remove(&key);
            Vec::new()
        }
        Event::Interrupted { .. } => Vec::new(),
    }
}

fn put<T: Document>(shelf: &mut Shelf<T>, entry: Entry) -> Result<(), (Key, DocumentError)> {
    match T::decode(&entry.value) {
        Ok(record) => {
            shelf.insert(entry.key, Kept { record, revision: entry.revision });
            Ok(())
        }
        Err(error) => {
            shelf.remove(&entry.key);
            Err((entry.key, error))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use headland_control_store::Revision;

    fn entry(pop: &str, value: &'static [u8], revision: u64) -> Entry {
        let key = Key::new(kind::POP, [pop]).unwrap();
        Entry { key, value: value.into(), revision: Revision(revision) }
    }

    #[test]
    fn a_snapshot_replaces_what_was_known_and_what_cannot_be_read_hides_nothing_else() {
        let mut books = Books::default();
        let (a, b): (PopId, PopId) = ("a".parse().unwrap(), "b".parse().unwrap());
        let drain = br#"{"format":1,"pop":"a","intent":"draining"}"#;
        assert!(books.apply(kind::POP, Event::Put(entry("a", drain, 1))).is_empty());
        assert_eq!((books.intent(&a), books.intent(&b)), (Intent::Draining, Intent::Active));
        let cordon = br#"{"format":1,"pop":"b","intent":"cordoned"}"#;
        let unread = books.apply(kind::POP, Event::Snapshot(vec![entry("a", b"{}", 2), entry("b", cordon, 3)]));
        assert_eq!(unread.len(), 1);
        assert_eq!((books.intent(&a), books.intent(&b)), (Intent::Active, Intent::Cordoned));
        books.apply(kind::POP, Event::Deleted { key: entry("b", b"", 0).key, revision: Revision(4) });
        assert_eq!(books.intent(&b), Intent::Active);
    }
}
