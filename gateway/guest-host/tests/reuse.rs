//! What routes with `reuse = true` share between requests, and what they do not.

mod common;

use common::{Host, host};
use headland_guest_host::{GuestError, Outcome};

const REUSE: &str = "reuse = true\n";

async fn counter(more: &str) -> Option<Host> {
    let host = host();
    host.deploy("1", "counter.wasm", more).await?;
    Some(host)
}

async fn counts(host: &Host, requests: usize) -> Vec<String> {
    let mut counts = Vec::new();
    for _ in 0..requests {
        counts.push(String::from_utf8(host.get().await.unwrap().to_vec()).unwrap());
    }
    counts
}

#[tokio::test]
async fn without_reuse_every_request_finds_fresh_memory() {
    let Some(host) = counter("").await else { return };
    assert_eq!(counts(&host, 3).await, ["1", "1", "1"]);
}

#[tokio::test]
async fn with_reuse_the_next_request_finds_what_the_last_one_left() {
    let Some(host) = counter(REUSE).await else { return };
    assert_eq!(counts(&host, 3).await, ["1", "2", "3"]);
}

#[tokio::test]
async fn an_instance_that_trapped_is_replaced() {
    let Some(host) = counter(REUSE).await else { return };
    assert_eq!(counts(&host, 2).await, ["1", "2"]);
    assert_eq!(host.ask("?trap=1").await, Err(GuestError::Trapped));
    assert_eq!(counts(&host, 2).await, ["1", "2"]);
}

#[tokio::test]
async fn an_instance_that_leaks_fails_at_its_limit_and_is_replaced() {
    let Some(host) = counter("reuse = true\n[limits]\nmemory = \"8MiB\"").await else { return };
    assert_eq!(host.ask("?leak=3").await.unwrap(), "1");
    assert!(matches!(host.ask("?leak=9").await, Err(GuestError::MemoryLimit { .. })));
    assert_eq!(counts(&host, 2).await, ["1", "2"]);
}

#[tokio::test]
async fn a_stream_kept_open_does_not_end_reuse() {
    let Some(host) = counter(REUSE).await else { return };
    for count in ["1", "2", "3"] {
        assert_eq!(host.ask("?print=x").await.unwrap(), count);
    }
}

#[tokio::test]
async fn a_new_version_gets_no_instance_of_the_old_one() {
    let Some(host) = counter(REUSE).await else { return };
    assert_eq!(counts(&host, 2).await, ["1", "2"]);
    host.deploy("2", "counter.wasm", REUSE).await.unwrap();
    assert_eq!(counts(&host, 1).await, ["1"]);
}

#[tokio::test]
async fn a_waiting_instance_makes_room_for_who_needs_its_slot() {
    let Some(host) = counter("reuse = true\n[limits]\ninstances = 1").await else { return };
    assert_eq!(counts(&host, 1).await, ["1"]);
    host.deploy("2", "hello.wasm", "[limits]\ninstances = 1").await.unwrap();
    assert_eq!(host.get().await.unwrap(), "hello, world\n");
    assert_eq!(host.count(Outcome::Refused), 0);
}
