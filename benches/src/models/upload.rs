//! Storing a blob: straight into the store, and over HTTP into a running gateway's registry. Both hash it, write it and
//! sync it, which is what `sha256sum` and `cp` with `sync` do one each.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::Result;
use headland_package::Sha256Digest;
use headland_registry::store::{Repository, Store, StoreOptions};

use super::MILLISECONDS;
use super::gateway::Gateway;
use super::scratch::{Scratch, hash, settle, since, timed};
use crate::Setup;
use headland_report::Section;

const REPOSITORY: &str = "bench/upload";
/// Bytes read and handed to the store at a time, about what arrives in one piece over HTTP.
const CHUNK_BYTES: usize = 256 << 10;

pub fn measure(setup: &Setup, scratch: &Scratch) -> Result<Section> {
    let weights = scratch.weights();
    let digest = Sha256Digest::of_file(&weights)?;
    let mut section = Section::new(&format!("storing {} from the page cache", scratch.size), MILLISECONDS);
    for _ in 0..setup.rounds {
        let hashed = hash(&weights)?;
        settle(&weights)?;
        let copied = copy(scratch)?;
        settle(&weights)?;
        let stored = store(scratch, digest)?;
        let sent = send(setup, scratch, digest)?;
        section.add("the slower of sha256sum and cp", hashed[0].1.max(copied));
        section.add("cp, then sync of the copy", copied);
        hashed.iter().for_each(|(name, took)| section.add(name, *took));
        section.add("into the store, in process", stored);
        section.add("into a gateway's registry, over HTTP", sent);
    }
    Ok(section)
}

fn copy(scratch: &Scratch) -> Result<f64> {
    let copy = scratch.path("copy");
    let copied = timed(Command::new("cp").arg(scratch.weights()).arg(&copy))?;
    let synced = timed(Command::new("sync").arg(&copy))?;
    scratch.remove("copy")?;
    Ok(copied + synced)
}

fn store(scratch: &Scratch, digest: Sha256Digest) -> Result<f64> {
    let store = Store::open(&scratch.path("store"), StoreOptions::default())?;
    let started = Instant::now();
    store_file(&store, &REPOSITORY.parse()?, &scratch.weights(), digest)?;
    let took = since(started);
    drop(store);
    scratch.remove("store")?;
    Ok(took)
}

/// Makes a file a blob of the repository.
pub fn store_file(store: &Store, repository: &Repository, path: &Path, digest: Sha256Digest) -> Result<()> {
    let mut file = File::open(path)?;
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut upload = store.begin_upload(repository)?;
    upload.reserve(file.metadata()?.len())?;
    loop {
        match file.read(&mut chunk)? {
            0 => break,
            read => upload.write(&chunk[..read])?,
        }
    }
    upload.finish(digest)?;
    Ok(())
}

/// A gateway of its own for each round: one that has the blob already would have an old one to remove.
fn send(setup: &Setup, scratch: &Scratch, digest: Sha256Digest) -> Result<f64> {
    let gateway = Gateway::start(setup, scratch, "receiver")?;
    settle(&scratch.weights())?;
    let mut file = File::open(scratch.weights())?;
    let started = Instant::now();
    let begun = gateway.ask("POST", &format!("/v2/{REPOSITORY}/blobs/uploads/"), None)?.expect(202)?;
    let sent = gateway.ask("PATCH", begun.location()?, Some(&mut file))?.expect(202)?;
    gateway.ask("PUT", &format!("{}?digest={digest}", sent.location()?), None)?.expect(201)?;
    let took = since(started);
    drop(gateway);
    scratch.remove("receiver")?;
    Ok(took)
}
