//! Models that run elsewhere, among those that are loaded here.

use std::collections::BTreeMap;
use std::sync::Mutex;

use super::*;
use crate::table::Aliases;

/// Another place, which answers what the test says and remembers what it was asked.
struct FakeDistant {
    answer: Result<f32, NnError>,
    asked: Mutex<Vec<Call>>,
}

impl Distant for FakeDistant {
    fn infer(&self, call: Call) -> Pending<'_, Answer> {
        self.asked.lock().unwrap().push(call);
        let answer = self.answer.clone().map(|value| {
            let outputs = vec![NamedTensor::new("y", Tensor::from_vec([1], vec![value]).unwrap())];
            Answer { outputs, text: None, timing: Default::default(), cache: None }
        });
        Box::pin(std::future::ready(answer))
    }

    fn stream(&self, call: Call) -> Pending<'_, Box<dyn DistantPieces>> {
        self.asked.lock().unwrap().push(call);
        let pieces = self.answer.clone().map(|value| Box::new(Countdown(value)) as Box<dyn DistantPieces>);
        Box::pin(std::future::ready(pieces))
    }
}

/// An answer of so many pieces, the last of which is its end; none comes where that is below zero.
struct Countdown(f32);

impl DistantPieces for Countdown {
    fn next(&mut self) -> Pending<'_, Option<Vec<NamedTensor>>> {
        let piece = match self.0 {
            left if left < 0.0 => Err(NnError::BrokenOff { model: "fake".into(), why: "fra2: reset".into() }),
            0.0 => Ok(None),
            left => {
                self.0 -= 1.0;
                Ok(Some(vec![NamedTensor::new("left", Tensor::from_vec([1], vec![left]).unwrap())]))
            }
        };
        Box::pin(std::future::ready(piece))
    }
}

impl FakeDistant {
    fn asked(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

/// Version `version` at another place, which answers `answer`.
fn routed(version: &str, answer: Result<f32, NnError>) -> (Routed, Arc<FakeDistant>) {
    let distant = Arc::new(FakeDistant { answer, asked: Mutex::default() });
    let described =
        Described { info: info(version), signature: signature(), device: Device::Cuda(1), tokens_max: Some(7) };
    (Routed::new(described, distant.clone()), distant)
}

fn table(here: &[&str], elsewhere: &[&str]) -> ModelTable {
    let table = ModelTable::default();
    for version in here {
        table.insert(Verified::named_by_operator(model(version, 8, echo), "a test"));
    }
    table.set_routed(elsewhere.iter().map(|version| routed(version, Ok(0.0)).0), BTreeMap::new());
    table
}

fn found(table: &ModelTable, asked: &str) -> Option<(String, bool)> {
    let model = table.get(&asked.parse().unwrap()).ok()?;
    Some((model.info().version.to_string(), model.is_here()))
}

#[tokio::test]
async fn a_model_elsewhere_is_asked_and_counted_like_any_other() {
    let (routed, distant) = routed("1", Ok(4.0));
    let model = routed.model();
    let answer = model.infer(call(2.0)).await.unwrap();
    assert_eq!((values(&answer), model.stats().success(), distant.asked()), (vec![4.0], 1, 1));
    assert_eq!((model.signature(), model.device(), model.tokens_max()), (&signature(), Device::Cuda(1), Some(7)));
    assert_eq!((model.memory_bytes(), model.executors(), model.pending()), (0, 0, 0));
    assert!(matches!(model.infer_here(call(2.0)).await, Err(NnError::Unreachable { .. })));
    assert_eq!(distant.asked(), 1, "what was passed on to here goes no further");
}

#[tokio::test]
async fn an_answer_in_pieces_from_elsewhere_is_counted_by_how_it_ends() {
    let (writes, _) = generating::counting(Default::default());
    let model = |answer| {
        let distant = Arc::new(FakeDistant { answer, asked: Mutex::default() });
        let (info, signature) = (info("1"), writes.signature().clone());
        let described = Described { info, signature, device: Device::Cpu, tokens_max: None };
        Routed::new(described, distant.clone()).model().clone()
    };
    let says = |parameters: &str| {
        let parameters = NamedTensor::new("parameters", Tensor::from_strings([1], &[parameters]).unwrap());
        Call { inputs: vec![parameters].into(), ..Call::default() }
    };
    let stream = || says(r#"{"prompt": "a", "stream": true}"#);
    let whole = model(Ok(2.0));
    for parameters in [r#"{"prompt": "a"}"#, r#"{"stream": false}"#, "{", "[]", r#"{"stream": 1}"#] {
        assert!(whole.stream(&says(parameters)).await.unwrap().is_none(), "{parameters}");
    }
    let mut pieces = whole.stream(&stream()).await.unwrap().unwrap();
    assert!(pieces.next().await.unwrap().is_some() && pieces.next().await.unwrap().is_some());
    assert_eq!(whole.stats().success(), 0);
    assert!(pieces.next().await.unwrap().is_none() && pieces.next().await.unwrap().is_none());
    drop(pieces);
    drop(whole.stream(&stream()).await.unwrap());
    assert_eq!((whole.stats().success(), whole.stats().failure(Failure::Canceled)), (1, 1));
    let lost = model(Ok(-1.0));
    let mut pieces = lost.stream(&stream()).await.unwrap().unwrap();
    assert!(matches!(pieces.next().await, Err(NnError::BrokenOff { .. })));
    assert!(pieces.next().await.unwrap().is_none(), "it has ended");
    let refusing = model(Err(NnError::invalid("no")));
    assert!(matches!(refusing.stream(&stream()).await, Err(NnError::InvalidInput(_))));
    assert_eq!((lost.stats().failure(Failure::Backend), refusing.stats().failure(Failure::Other)), (1, 1));
    assert!(refusing.stream_here(&stream()).await.unwrap().is_none(), "what was passed on to here goes no further");
}

#[tokio::test]
async fn a_failure_elsewhere_is_the_callers_and_is_counted() {
    let (routed, _) = routed("1", Err(NnError::unreachable("fake", "fra2: refused")));
    let error = routed.model().infer(call(2.0)).await.unwrap_err();
    assert_eq!(error.to_string(), "model `fake` cannot be reached now");
    assert_eq!(routed.model().stats().failure(Failure::Backend), 1);
}

#[test]
fn names_versions_and_digests_are_found_here_and_elsewhere_and_here_goes_first() {
    let table = table(&["1", "2"], &["2", "10"]);
    let (here, there) = (true, false);
    for (asked, expected) in [
        ("fake".to_owned(), Some(("10", there))),
        ("fake:1".to_owned(), Some(("1", here))),
        ("fake:2".to_owned(), Some(("2", here))),
        ("fake:10".to_owned(), Some(("10", there))),
        (format!("fake@{}", Sha256Digest::of(b"2")), Some(("2", here))),
        (format!("fake@{}", Sha256Digest::of(b"10")), Some(("10", there))),
        ("fake:3".to_owned(), None),
    ] {
        assert_eq!(found(&table, &asked), expected.map(|(version, here)| (version.to_owned(), here)), "{asked}");
    }
    let listed: Vec<String> = table.listed().iter().map(|model| model.info().to_string()).collect();
    assert_eq!(listed, ["fake:1", "fake:2", "fake:10"]);
    assert_eq!(table.all().len(), 2);
    let missing = table.get(&"fake:3".parse().unwrap()).unwrap_err();
    assert_eq!(missing.loaded, listed);
}

#[test]
fn the_fleets_aliases_go_before_the_gateways_own() {
    let table = table(&["1", "2"], &["3"]);
    let name = "fake".parse().unwrap();
    let aliases = |target: &str| -> Aliases { [("stable".to_owned(), target.parse().unwrap())].into() };
    table.set_aliases(&name, aliases("1"));
    assert_eq!(found(&table, "fake"), Some(("1".to_owned(), true)));
    table.set_routed([routed("3", Ok(0.0)).0], [(name.clone(), aliases("3"))].into());
    assert_eq!(found(&table, "fake"), Some(("3".to_owned(), false)));
    assert_eq!(found(&table, "fake:stable"), Some(("3".to_owned(), false)));
    table.set_routed([], BTreeMap::new());
    assert_eq!(found(&table, "fake"), Some(("1".to_owned(), true)));
}

#[test]
fn a_bare_name_means_what_it_meant_until_the_version_it_moved_to_can_be_asked() {
    let table = table(&[], &[]);
    let set = |there: &[&str], stable: &str| {
        let aliases: Aliases = [("stable".to_owned(), stable.parse().unwrap())].into();
        let there = there.iter().map(|version| routed(version, Ok(0.0)).0);
        table.set_routed(there, [("fake".parse().unwrap(), aliases)].into());
    };
    let meant = || found(&table, "fake").map(|(version, _)| version);
    set(&["1"], "2");
    assert_eq!(meant(), None, "it never meant anything else");
    set(&["1"], "1");
    set(&["1"], "2");
    assert_eq!(meant().as_deref(), Some("1"));
    set(&["1"], "3");
    assert_eq!(meant().as_deref(), Some("1"), "moved again, and still not there");
    set(&["1", "3"], "3");
    assert_eq!(meant().as_deref(), Some("3"));
    set(&["1"], "3");
    assert_eq!(meant(), None, "it was there and is gone: nothing else is meant");
}

#[tokio::test]
async fn what_was_passed_on_to_here_finds_only_what_is_here() {
    let table = table(&["1"], &["2"]);
    let find = async |version: &str| {
        table.find_here(&"fake".parse().unwrap(), &version.parse().unwrap()).await.map(|model| model.is_here())
    };
    assert_eq!(find("1").await, Ok(true));
    let missing = find("2").await.unwrap_err().to_string();
    assert_eq!(missing, "model `fake:2` is not loaded; loaded: fake:1");
}

#[tokio::test]
async fn what_is_too_much_here_goes_where_the_model_is_besides() {
    let table = ModelTable::default();
    let (here, full) = (model("1", 0, echo), |answer| {
        let (routed, distant) = routed("1", answer);
        table.set_routed([routed], BTreeMap::new());
        distant
    });
    table.insert(Verified::named_by_operator(here.clone(), "a test"));
    // Nothing may wait here.
    let refused = here.infer_here(call(2.0)).await;
    assert!(matches!(refused, Err(NnError::Overloaded { .. })), "{refused:?}");
    let distant = full(Ok(4.0));
    let answer = here.infer(Call { priority: 3, ..call(2.0) }).await.unwrap();
    assert_eq!((values(&answer), distant.asked.lock().unwrap()[0].priority), (vec![4.0], 3));
    assert!(matches!(here.infer_here(call(2.0)).await, Err(NnError::Overloaded { .. })));
    assert_eq!(distant.asked(), 1, "what was passed on to here goes no further");

    // Where that does not help, who asked is told of the queue here.
    full(Err(NnError::unreachable("fake", "gone")));
    assert!(matches!(here.infer(call(2.0)).await, Err(NnError::Overloaded { .. })));
    // A verdict on the request itself is one.
    full(Err(NnError::invalid("no")));
    assert!(matches!(here.infer(call(2.0)).await, Err(NnError::InvalidInput(_))));
    // And without a route it stays here.
    table.set_routed([], BTreeMap::new());
    assert!(matches!(here.infer(call(2.0)).await, Err(NnError::Overloaded { .. })));
}

#[tokio::test]
async fn a_version_of_other_bytes_takes_nothing_over() {
    let table = ModelTable::default();
    let here = model("1", 0, echo);
    table.insert(Verified::named_by_operator(here.clone(), "a test"));
    let distant = Arc::new(FakeDistant { answer: Ok(4.0), asked: Mutex::default() });
    let info = ModelInfo { digest: Sha256Digest::of(b"other"), ..info("1") };
    let described = Described { info, signature: signature(), device: Device::Cpu, tokens_max: None };
    table.set_routed([Routed::new(described, distant.clone())], BTreeMap::new());
    assert!(matches!(here.infer(call(2.0)).await, Err(NnError::Overloaded { .. })));
    assert_eq!(distant.asked(), 0);
}
