//! The one who is killed: pushes, tags, moves, deletes and collects, and says each thing before and after.

use std::io::Write;
use std::path::Path;

use headland_package::Sha256Digest;
use headland_registry::store::{Store, StoreOptions};
use serde_json::json;

use crate::content::{Random, content, repository, subject};

const PIECE_BYTES: usize = 10_000;
const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";

fn say(line: &str) {
    println!("@{line}");
    std::io::stdout().flush().unwrap();
}

fn push_blob(store: &Store, number: u64, random: &mut Random) -> Sha256Digest {
    let bytes = content(number);
    let mut upload = store.begin_upload(&repository()).unwrap();
    for piece in bytes.chunks(PIECE_BYTES) {
        upload.write(piece).unwrap();
        if random.below(4) == 0 {
            let (id, len) = (upload.id().clone(), upload.len());
            drop(upload);
            say(&format!("part {id} {number} {len}"));
            upload = store.resume_upload(&repository(), &id).unwrap();
        }
    }
    let digest = upload.finish(Sha256Digest::of(&bytes)).unwrap().digest;
    say(&format!("blob {number}"));
    digest
}

fn push_manifest(store: &Store, seed: u64, first: u64, random: &mut Random) -> Sha256Digest {
    let descriptors: Vec<_> = (first..first + 2)
        .map(|number| {
            let digest = push_blob(store, number, random).to_string();
            json!({ "mediaType": "x/y", "digest": digest, "size": content(number).len() })
        })
        .collect();
    let document = json!({
        "schemaVersion": 2, "config": descriptors[0], "layers": descriptors[1..],
        "subject": { "mediaType": IMAGE, "digest": subject(seed).to_string(), "size": 7 },
    })
    .to_string();
    let digest = Sha256Digest::of(document.as_bytes());
    let tag = format!("v{first}");
    say(&format!("tagging {tag} {digest}"));
    store.put_manifest(&repository(), &tag.parse().unwrap(), IMAGE, document.as_bytes()).unwrap();
    say(&format!("manifest {digest} {seed}"));
    say(&format!("tagged {tag} {digest}"));
    digest
}

/// Works on the store in `dir` until it is killed.
pub fn work(dir: &Path, seed: u64) -> ! {
    let mut random = Random::new(seed);
    let store = Store::open(dir, StoreOptions::default()).unwrap();
    say("open");
    for step in 0.. {
        let digest = push_manifest(&store, seed, seed * 1_000_000 + 2 * step, &mut random);
        say(&format!("tagging stable {digest}"));
        store.move_tag(&repository(), &"stable".parse().unwrap(), digest).unwrap();
        say(&format!("tagged stable {digest}"));
        if random.below(3) == 0 {
            let digest = push_manifest(&store, seed, seed * 1_000_000 + 500_000 + 2 * step, &mut random);
            say(&format!("deleting {digest}"));
            store.delete_manifest(&repository(), digest).unwrap();
            say(&format!("deleted {digest}"));
            store.collect_garbage().unwrap();
        }
    }
    unreachable!("the parent ends this")
}
