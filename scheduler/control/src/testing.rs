//! What the tests of this crate are made of.

use headland_control_store::{Entry, Event, Key, Revision};
use headland_fleet::{
    Aliases, Demand, DeviceReport, Document, Heartbeat, Intent, ModelKey, ModelRecord, Needs, Place, PolicyRecord,
    PolicyRule, PopRecord, kind,
};
use headland_package::{Accelerator, Sha256Digest};

use crate::books::Books;

/// A PoP with one processor and 8 GiB for models, that holds nothing and was asked nothing.
pub fn heartbeat(pop: &str, region: &str) -> Heartbeat {
    let place = Place { region: region.parse().unwrap(), location: None, failure_domain: None };
    let (address, listen) = (format!("{pop}:8082"), format!("{pop}:8080"));
    Heartbeat {
        sequence: 1,
        devices: vec![DeviceReport {
            device: "cpu".to_owned(),
            class: "cpu".to_owned(),
            memory_bytes: 8 << 30,
            used_bytes: 0,
            units: 8,
        }],
        ..Heartbeat::new(pop.parse().unwrap(), 1, place, address, listen)
    }
}

/// `NAME`, version 1.
pub fn key(name: &str) -> ModelKey {
    ModelKey { name: name.parse().unwrap(), version: "1".parse().unwrap() }
}

/// Requests for a model, all of them answered.
pub fn asked(name: &str, requests: u64) -> Demand {
    Demand { key: key(name), requests, failures: 0, shed: 0, latency_us: 1_000.0 }
}

/// A record of a version: 1 GiB, at least one replica, anywhere.
pub fn record(name: &str, version: &str) -> ModelRecord {
    let key = ModelKey { name: name.parse().unwrap(), version: version.parse().unwrap() };
    let needs = Needs {
        accelerator: Accelerator::None,
        min_replicas: 1,
        max_replicas: None,
        min_domains: 1,
        regions: Vec::new(),
        memory_bytes: Some(1 << 30),
        priority: 1,
    };
    let digest = Sha256Digest::of(key.to_string().as_bytes());
    ModelRecord { key, manifest: digest, digest, bytes: 1 << 30, cache_bytes: 0, needs }
}

/// Records of these versions.
pub fn books(versions: &[(&str, &str)]) -> Books {
    let mut books = Books::default();
    for (name, version) in versions {
        add(&mut books, &record(name, version));
    }
    books
}

/// Puts a record of a version in.
pub fn add(books: &mut Books, record: &ModelRecord) {
    let parts = [record.key.name.as_str(), record.key.version.as_str()];
    put(books, kind::MODEL, Key::new(kind::MODEL, parts).unwrap(), record);
}

/// Lets `alias` of `name` stand for `version`.
pub fn alias(books: &mut Books, name: &str, alias: &str, version: &str) {
    let aliases = [(alias.to_owned(), version.parse().unwrap())].into();
    let record = Aliases { name: name.parse().unwrap(), aliases };
    put(books, kind::ALIASES, Key::new(kind::ALIASES, [name]).unwrap(), &record);
}

/// Says what an operator wants of `pop`.
pub fn intend(books: &mut Books, pop: &str, intent: Intent) {
    let record = PopRecord { pop: pop.parse().unwrap(), intent };
    put(books, kind::POP, Key::new(kind::POP, [pop]).unwrap(), &record);
}

/// A rule that lets what fits `artifact` run anywhere.
pub fn rule(artifact: &str) -> PolicyRule {
    let (name, artifact) = (artifact.to_owned(), artifact.to_owned());
    PolicyRule { name, artifact, admits: true, regions: None, accelerators: None }
}

/// Puts a policy of these rules in.
pub fn trust(books: &mut Books, rules: Vec<PolicyRule>) {
    put(books, kind::POLICY, Key::new(kind::POLICY, [PolicyRecord::NAME]).unwrap(), &PolicyRecord { rules });
}

fn put(books: &mut Books, kind: &str, key: Key, document: &impl Document) {
    let entry = Entry { key, value: document.encode().into(), revision: Revision(1) };
    assert!(books.apply(kind, Event::Put(entry)).is_empty());
}
