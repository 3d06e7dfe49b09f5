//! Pulls from members that serve well, break off, or lie.

use std::collections::BTreeMap;
use std::io;
use std::sync::Mutex;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, stream};
use headland_package::oci::{Descriptor, MEDIA_TYPE_MANIFEST, PackedFile, pack_model, pack_signature};
use headland_registry::store::StoreOptions;

use super::*;
use crate::fetch::Fetched;

/// A member that serves what it was given, chunk by chunk.
#[derive(Clone, Default)]
struct Member {
    /// By path.
    files: BTreeMap<String, Vec<u8>>,
    /// Bodies break off after so many bytes.
    breaks_after: Option<usize>,
}

/// Members by name, and what they were asked for.
#[derive(Default)]
struct Fleet {
    members: BTreeMap<&'static str, Member>,
    asked: Mutex<Vec<String>>,
}

impl Fetch for Fleet {
    fn get<'a>(&'a self, source: &'a Source, path: &'a str, from: u64) -> BoxFuture<'a, Result<Fetched, FetchError>> {
        self.asked.lock().unwrap().push(format!("{} {from} {path}", source.pop));
        let member = self.members.get(source.pop.as_str());
        let answer = match member.and_then(|member| Some((member, member.files.get(path)?))) {
            None => Err(FetchError::NotThere),
            Some((member, bytes)) => {
                let rest = &bytes[from as usize..];
                let sent = member.breaks_after.map_or(rest.len(), |most| most.min(rest.len()));
                let mut chunks: Vec<io::Result<Bytes>> =
                    rest[..sent].chunks(7).map(|chunk| Ok(Bytes::copy_from_slice(chunk))).collect();
                if sent < rest.len() {
                    chunks.push(Err(io::Error::other("it hung up")));
                }
                Ok(Fetched { media_type: MEDIA_TYPE_MANIFEST.to_owned(), body: stream::iter(chunks).boxed() })
            }
        };
        async move { answer }.boxed()
    }
}

/// A model of one file, signed, as a member serves it.
struct Model {
    manifest: Sha256Digest,
    weights: Sha256Digest,
    member: Member,
}

const WEIGHTS: &[u8] = b"weights that take a few chunks to send";

fn model() -> Model {
    let weights = Sha256Digest::of(WEIGHTS);
    let file = PackedFile { path: "model.onnx".to_owned(), size: WEIGHTS.len() as u64, digest: weights };
    let packed = pack_model(&"m".parse().unwrap(), &"1".parse().unwrap(), &[file]).unwrap();
    let manifest = Sha256Digest::of(&packed.manifest);
    let signature = pack_signature(b"{}", Descriptor::of(MEDIA_TYPE_MANIFEST, &packed.manifest));
    let mut files = BTreeMap::new();
    for blob in [WEIGHTS, &packed.config, &signature.config, b"{}"] {
        files.insert(format!("/v2/models/m/blobs/{}", Sha256Digest::of(blob)), blob.to_vec());
    }
    for bytes in [&packed.manifest, &signature.manifest] {
        files.insert(format!("/v2/models/m/manifests/{}", Sha256Digest::of(bytes)), bytes.clone());
    }
    let query = "artifactType=application%2Fvnd.dev.sigstore.bundle.v0.3%2Bjson";
    let referrers = format!(r#"{{"manifests":[{{"digest":"{}"}}]}}"#, Sha256Digest::of(&signature.manifest));
    files.insert(format!("/v2/models/m/referrers/{manifest}?{query}"), referrers.into_bytes());
    Model { manifest, weights, member: Member { files, breaks_after: None } }
}

/// What came of a pull: the result, who was accused, and what was asked of whom.
struct Pulled {
    result: Result<(), PullError>,
    accused: Vec<String>,
    asked: Vec<String>,
    store: Store,
    _dir: tempfile::TempDir,
}

async fn pull(model: &Model, members: &[(&'static str, Member)]) -> Pulled {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), StoreOptions::default()).unwrap();
    let fleet = Arc::new(Fleet { members: members.iter().cloned().collect(), asked: Mutex::default() });
    let accused = Arc::new(Mutex::new(Vec::new()));
    let accuse = {
        let accused = accused.clone();
        move |pop: &PopId| accused.lock().unwrap().push(pop.to_string())
    };
    let puller = Puller::new(store.clone(), fleet.clone(), Arc::new(Throttle::new(None)), accuse);
    let source =
        |(pop, _): &(&str, Member)| Source { pop: pop.parse().unwrap(), address: String::new(), control: false };
    let wanted = Wanted {
        repository: "models/m".parse().unwrap(),
        tag: "1".parse().unwrap(),
        manifest: model.manifest,
        sources: members.iter().map(source).collect(),
    };
    let result = puller.pull(&wanted).await;
    let (accused, asked) = (accused.lock().unwrap().clone(), fleet.asked.lock().unwrap().clone());
    Pulled { result, accused, asked, store, _dir: dir }
}

impl Pulled {
    fn is_here(&self, model: &Model) -> bool {
        let (repository, tag) = ("models/m".parse().unwrap(), "1".parse().unwrap());
        let blob = self.store.blob(&repository, model.weights).unwrap();
        self.store.tag(&repository, &tag).unwrap() == Some(model.manifest)
            && blob.is_some_and(|blob| *blob.map_verified().unwrap() == *WEIGHTS)
            && self.store.referrers(&repository, model.manifest, None).unwrap().len() == 1
    }

    /// Who was asked for the weights, and from where on.
    fn weights_asked(&self, model: &Model) -> Vec<String> {
        let blob = model.weights.to_string();
        let asked = self.asked.iter().filter(|asked| asked.ends_with(&blob));
        asked.map(|asked| asked.rsplit_once(' ').unwrap().0.to_owned()).collect()
    }
}

#[tokio::test]
async fn a_model_arrives_whole_and_with_its_signatures() {
    let model = model();
    let pulled = pull(&model, &[("a", model.member.clone())]).await;
    assert!(pulled.result.is_ok() && pulled.is_here(&model), "{:?}", pulled.result);
    assert_eq!(pulled.accused, [] as [&str; 0]);
}

#[tokio::test]
async fn what_breaks_off_goes_on_from_the_next_member_where_it_broke_off() {
    let model = model();
    let broken = Member { breaks_after: Some(20), ..model.member.clone() };
    // Only its weights are longer than what it sends.
    let whole: BTreeMap<String, Vec<u8>> = model
        .member
        .files
        .iter()
        .filter(|(path, _)| !path.ends_with(&model.weights.to_string()))
        .map(|(path, bytes)| (path.clone(), bytes.clone()))
        .collect();
    let first = Member {
        files: BTreeMap::from([(format!("/v2/models/m/blobs/{}", model.weights), WEIGHTS.to_vec())]),
        ..broken
    };
    let second = Member {
        files: {
            let mut files = whole;
            files.extend(first.files.clone());
            files
        },
        breaks_after: None,
    };
    let pulled = pull(&model, &[("a", first), ("b", second)]).await;
    assert!(pulled.result.is_ok() && pulled.is_here(&model), "{:?}", pulled.result);
    assert_eq!(pulled.weights_asked(&model), ["a 0", "b 20"]);
    assert_eq!(pulled.accused, [] as [&str; 0], "to break off is no lie");
}

#[tokio::test]
async fn who_sends_other_bytes_is_named_and_another_member_is_asked() {
    let model = model();
    let mut liar = model.member.clone();
    let weights = format!("/v2/models/m/blobs/{}", model.weights);
    liar.files.insert(weights.clone(), WEIGHTS.iter().map(|byte| byte ^ 1).collect());
    let pulled = pull(&model, &[("liar", liar.clone()), ("b", model.member.clone())]).await;
    assert!(pulled.result.is_ok() && pulled.is_here(&model), "{:?}", pulled.result);
    assert_eq!(
        (pulled.accused.as_slice(), pulled.weights_asked(&model).as_slice()),
        (&["liar".to_owned()][..], &["liar 0".to_owned(), "b 0".to_owned()][..])
    );

    // One that sends too much, and one whose manifest is another's.
    liar.files.insert(weights, [WEIGHTS, b"more"].concat());
    liar.files.insert(format!("/v2/models/m/manifests/{}", model.manifest), b"{}".to_vec());
    let pulled = pull(&model, &[("liar", liar.clone()), ("b", model.member.clone())]).await;
    assert!(pulled.result.is_ok() && pulled.is_here(&model), "{:?}", pulled.result);
    assert!(pulled.accused.iter().all(|pop| pop == "liar") && pulled.accused.len() >= 2, "{:?}", pulled.accused);

    let alone = pull(&model, &[("liar", liar)]).await;
    let error = alone.result.unwrap_err().to_string();
    assert!(error.contains("could not be had from liar (it sent other bytes than the digest says)"), "{error}");
    assert!(alone.store.tag(&"models/m".parse().unwrap(), &"1".parse().unwrap()).unwrap().is_none());
}

#[tokio::test]
async fn what_nobody_has_names_who_was_asked() {
    let model = model();
    let error = |pulled: Pulled| pulled.result.unwrap_err().to_string();
    let text = error(pull(&model, &[("a", Member::default()), ("b", Member::default())]).await);
    assert!(text.contains("could not be had from a (it does not have it), b (it does not have it)"), "{text}");
    let text = error(pull(&model, &[]).await);
    assert!(text.contains("anybody: no member is known to have it"), "{text}");
}
