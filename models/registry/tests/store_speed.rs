//! What storing and loading 1 GiB costs, against `sha256sum` and `cp` of the same file in the same run:
//! `cargo test --release -p headland-registry --test store_speed -- --ignored --nocapture`

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use headland_package::Sha256Digest;
use headland_registry::store::{Store, StoreOptions};

const ROUNDS: usize = 3;
const FILE_BYTES: usize = 1 << 30;
/// What a request's body comes in.
const PIECE_BYTES: usize = 256 << 10;

fn timed<T>(what: &str, step: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let value = step();
    println!("  {what:<44} {:7.3} s", start.elapsed().as_secs_f64());
    value
}

fn run(program: &str, arguments: &[&Path]) {
    assert!(Command::new(program).args(arguments).stdout(std::process::Stdio::null()).status().unwrap().success());
}

/// 1 GiB that does not compress, from a small generator.
fn write_noise(path: &Path) {
    let mut file = File::create(path).unwrap();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut piece = vec![0; PIECE_BYTES];
    for _ in 0..FILE_BYTES / PIECE_BYTES {
        for word in piece.chunks_exact_mut(8) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            word.copy_from_slice(&state.to_le_bytes());
        }
        file.write_all(&piece).unwrap();
    }
    file.sync_all().unwrap();
}

fn store_file(store: &Store, path: &Path, digest: Sha256Digest) {
    let mut upload = store.begin_upload(&"models/m".parse().unwrap()).unwrap();
    upload.reserve(FILE_BYTES as u64).unwrap();
    let (mut file, mut piece) = (File::open(path).unwrap(), vec![0; PIECE_BYTES]);
    loop {
        match file.read(&mut piece).unwrap() {
            0 => break,
            read => upload.write(&piece[..read]).unwrap(),
        }
    }
    timed("  of which finish (sync, rename)", || upload.finish(digest)).unwrap();
}

#[test]
#[ignore = "a measurement: writes 1 GiB several times"]
fn storing_and_loading_a_gibibyte() {
    let dir = tempfile::tempdir_in(std::env::var_os("STORE_SPEED_DIR").unwrap_or_else(|| "/tmp".into())).unwrap();
    let (source, copy) = (dir.path().join("source"), dir.path().join("copy"));
    write_noise(&source);
    let digest = timed("sha2 crate over the file", || Sha256Digest::of_file(&source)).unwrap();
    for round in 1..=ROUNDS {
        println!("round {round}");
        let store = Store::open(&dir.path().join("store"), StoreOptions::default()).unwrap();
        let repository = "models/m".parse().unwrap();
        timed("sha256sum", || run("sha256sum", &[&source]));
        timed("cp", || run("cp", &[&source, &copy]));
        timed("sync of that copy", || run("sync", &[&copy]));
        std::fs::remove_file(&copy).unwrap();
        timed("store: read, write, hash, sync, rename", || store_file(&store, &source, digest));
        let blob = store.blob(&repository, digest).unwrap().unwrap();
        let bytes = timed("load: map and verify", || blob.map_verified()).unwrap();
        timed("sum over the mapping", || bytes.iter().map(|byte| u64::from(*byte)).sum::<u64>());
        drop((bytes, blob));
        store.delete_blob(&repository, digest).unwrap();
        drop(store);
        std::fs::remove_dir_all(dir.path().join("store")).unwrap();
    }
}
