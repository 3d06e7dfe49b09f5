//! Kill -9 at any moment: what was acknowledged is there and whole, and nothing else is half there.
//!
//! The test starts itself as a child that uploads, tags, moves, deletes and collects, saying what it is about to change
//! and what was acknowledged. The parent kills it at a random moment and looks at what is left; a hundred times over, on
//! the same folder. `STORE_CRASH_SEED` repeats a run's choices.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant, SystemTime};

mod child;
mod content;
mod expected;

use content::Random;
use expected::Expected;

const ROUNDS: u64 = 100;
/// A child is killed after it has said up to so much, which makes a life of equal content on slow and fast disks...
const LINES_MAX: u64 = 40;
/// ...and up to so much later, which makes the moment any moment.
const LATER_US_MAX: u64 = 10_000;
/// How long a child may take to say the next thing.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// In every so many rounds the child is killed while it starts and opens the store.
const EARLY_EVERY: u64 = 5;
/// The longest such a child lives.
const EARLY_US_MAX: u64 = 15_000;
const CHILD_DIR: &str = "STORE_CRASH_CHILD_DIR";
const CHILD_SEED: &str = "STORE_CRASH_CHILD_SEED";

/// Runs one child, kills it, and hears all it had said.
fn one_life(dir: &Path, seed: u64, random: &mut Random, expected: &mut Expected) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_killed_store_loses_nothing_and_shows_nothing_half", "--nocapture"])
        .env(CHILD_DIR, dir)
        .env(CHILD_SEED, seed.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (sender, lines) = mpsc::channel();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let reader = std::thread::spawn(move || {
        let mut line = String::new();
        // A line without its end was cut by the kill: nobody acknowledged anything with it.
        while output.read_line(&mut line).unwrap() > 0 && line.ends_with('\n') {
            if let Some((_, said)) = line.trim_end().split_once('@') {
                let _ = sender.send(said.to_owned());
            }
            line.clear();
        }
    });
    let mut later = random.below(EARLY_US_MAX);
    if !seed.is_multiple_of(EARLY_EVERY) {
        for _ in 0..=random.below(LINES_MAX) {
            expected.heard(&lines.recv_timeout(SILENCE_MAX).expect("the child works"));
        }
        later = random.below(LATER_US_MAX);
    }
    let end = Instant::now() + Duration::from_micros(later);
    while let Ok(line) = lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
        expected.heard(&line);
    }
    child.kill().unwrap();
    assert!(!child.wait().unwrap().success(), "the child ended by the kill, not by itself");
    reader.join().unwrap();
    lines.iter().for_each(|line| expected.heard(&line));
}

#[test]
fn a_killed_store_loses_nothing_and_shows_nothing_half() {
    if let Some(dir) = std::env::var_os(CHILD_DIR) {
        child::work(Path::new(&dir), std::env::var(CHILD_SEED).unwrap().parse().unwrap());
    }
    let now = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().subsec_nanos().into();
    let seed = std::env::var("STORE_CRASH_SEED").map_or_else(|_| now(), |seed| seed.parse().unwrap());
    println!("STORE_CRASH_SEED={seed}");
    let dir = tempfile::tempdir().unwrap();
    let mut random = Random::new(seed);
    let mut expected = Expected::default();
    for round in 1..=ROUNDS {
        one_life(dir.path(), round, &mut random, &mut expected);
        expected.check(dir.path());
    }
    let Expected { blobs, manifests, deleted, .. } = expected;
    println!("{} blobs, {} manifests, {} of these deleted", blobs.len(), manifests.len(), deleted.len());
    assert!(blobs.len() > 100 && manifests.len() > 20, "the children got to do something");
}
