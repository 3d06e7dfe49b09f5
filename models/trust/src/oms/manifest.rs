//! The signed list of files: read from a statement, and checked for everything that can be wrong with it by itself.

use std::collections::HashSet;
use std::ops::Range;

use headland_package::Sha256Digest;
use serde::Deserialize;

use super::{PREDICATE_TYPE, names};
use crate::contents::HashAlgorithm;
use crate::dsse::Statement;
use crate::error::VerifyError;

/// Files, or pieces of files, in one signature.
pub const RESOURCES_MAX: usize = 50_000;

/// What a model signature says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The name the model went by when it was signed. Nobody relies on it.
    pub name: String,
    /// How files became resources.
    pub serialization: Serialization,
    /// The hash of every resource.
    pub hash: HashAlgorithm,
    /// Whether files may be symbolic links.
    pub allow_symlinks: bool,
    /// What was left out, relative to the model.
    pub ignore_paths: Vec<String>,
    /// The files or their pieces. Never empty, no two alike.
    pub resources: Vec<Resource>,
}

/// How files become resources.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Serialization {
    /// Each file is one resource.
    Files,
    /// Each file is cut into pieces of this many bytes, the last one shorter. An empty file has no piece, and so is not
    /// signed.
    Shards {
        /// The size of a piece; not zero.
        bytes: u64,
    },
}

/// A file, or a piece of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// The file.
    pub path: String,
    /// The piece, in bytes; `None` for the whole file.
    pub range: Option<Range<u64>>,
    /// The digest, as long as the hash makes it.
    pub digest: Vec<u8>,
}

impl Resource {
    /// The resource as signatures name it.
    pub fn name(&self) -> String {
        match &self.range {
            None => self.path.clone(),
            Some(range) => format!("{}:{}:{}", self.path, range.start, range.end),
        }
    }
}

impl Manifest {
    /// Reads the payload of an envelope.
    ///
    /// # Errors
    /// When it is not the statement of a model signature, contradicts itself, or names what cannot be a file.
    pub(super) fn read(payload: &[u8]) -> Result<Self, VerifyError> {
        let statement = Statement::parse(payload)?;
        if statement.predicate_type != PREDICATE_TYPE {
            return Err(VerifyError::StatementType { expected: PREDICATE_TYPE, found: statement.predicate_type });
        }
        let predicate = statement.predicate.map_or("null", |predicate| predicate.get());
        let predicate: Predicate =
            serde_json::from_str(predicate).map_err(|source| VerifyError::Json { part: "statement", source })?;
        let manifest = predicate.check(statement.subject.first().map(|s| s.name.clone()).unwrap_or_default())?;
        let (signed, computed) = (statement.only_subject()?, root_digest(&manifest.resources));
        if signed != computed {
            return Err(VerifyError::RootDigest { signed: signed.hex(), computed: computed.hex() });
        }
        Ok(manifest)
    }
}

/// The one digest that stands for all (specification, section 6.5.1): SHA-256 over the digests, in their order.
pub(super) fn root_digest(resources: &[Resource]) -> Sha256Digest {
    let digests: Vec<u8> = resources.iter().flat_map(|resource| &resource.digest).copied().collect();
    Sha256Digest::of(&digests)
}

/// The predicate as it is written.
#[derive(Deserialize)]
struct Predicate {
    serialization: SerializationJson,
    resources: Vec<ResourceJson>,
}

#[derive(Deserialize)]
struct SerializationJson {
    method: String,
    hash_type: String,
    shard_size: Option<serde_json::Number>,
    allow_symlinks: bool,
    #[serde(default)]
    ignore_paths: Vec<String>,
}

#[derive(Deserialize)]
struct ResourceJson {
    name: String,
    digest: String,
    algorithm: String,
}

impl Predicate {
    fn check(self, name: String) -> Result<Manifest, VerifyError> {
        let serialization = self.serialization.method()?;
        let hash = self.serialization.hash()?;
        if self.resources.is_empty() {
            return Err(VerifyError::Malformed("it lists no files".to_owned()));
        }
        if self.resources.len() > RESOURCES_MAX {
            return Err(VerifyError::TooMany { found: self.resources.len(), max: RESOURCES_MAX });
        }
        let resources = self.resources.into_iter().map(|resource| resource.check(serialization, hash));
        let resources: Vec<Resource> = resources.collect::<Result<_, _>>()?;
        let mut seen = HashSet::with_capacity(resources.len());
        if let Some(twice) = resources.iter().find(|r| !seen.insert((&r.path, r.range.as_ref().map(|r| r.start)))) {
            return Err(VerifyError::Duplicate(twice.name()));
        }
        Ok(Manifest {
            name,
            serialization,
            hash,
            allow_symlinks: self.serialization.allow_symlinks,
            ignore_paths: self.serialization.ignore_paths,
            resources,
        })
    }
}

impl SerializationJson {
    fn method(&self) -> Result<Serialization, VerifyError> {
        match self.method.as_str() {
            "files" => Ok(Serialization::Files),
            "shards" => match self.shard_size.as_ref().and_then(whole_number) {
                Some(bytes) if bytes > 0 => Ok(Serialization::Shards { bytes }),
                _ => Err(VerifyError::Malformed("it has shards, but no positive shard_size".to_owned())),
            },
            found => Err(VerifyError::Unknown {
                what: "the serialization",
                found: found.to_owned(),
                known: "`files` and `shards`",
            }),
        }
    }

    fn hash(&self) -> Result<HashAlgorithm, VerifyError> {
        self.hash_type.parse().map_err(|()| VerifyError::Unknown {
            what: "the hash",
            found: self.hash_type.clone(),
            known: "`sha256`, `blake2b` and `blake3`",
        })
    }
}

/// Protobuf writes all numbers as floating-point ones.
fn whole_number(number: &serde_json::Number) -> Option<u64> {
    const EXACT_MAX: f64 = (1_u64 << 53) as f64;
    let float = || number.as_f64().filter(|n| n.fract() == 0.0 && (0.0..=EXACT_MAX).contains(n)).map(|n| n as u64);
    number.as_u64().or_else(float)
}

impl ResourceJson {
    fn check(self, serialization: Serialization, hash: HashAlgorithm) -> Result<Resource, VerifyError> {
        let bad = |why| VerifyError::Name { name: self.name.clone(), why };
        let (path, range) = match serialization {
            Serialization::Files => (self.name.as_str(), None),
            Serialization::Shards { .. } => {
                split_shard(&self.name).ok_or_else(|| bad("a shard is `path:start:end`"))?
            }
        };
        names::check(path).map_err(bad)?;
        let sharded = match serialization {
            Serialization::Files => None,
            Serialization::Shards { bytes } => Some(format!("{hash}-sharded-{bytes}")),
        };
        if self.algorithm != hash.as_str() && Some(&self.algorithm) != sharded.as_ref() {
            let algorithm = &self.algorithm;
            return Err(VerifyError::Malformed(format!(
                "`{}` is hashed by {algorithm}, the rest by {hash}",
                self.name
            )));
        }
        let digest = unhex(&self.digest).filter(|digest| digest.len() == hash.digest_bytes());
        let digest = digest.ok_or_else(|| VerifyError::Malformed(format!("`{}` has no {hash} digest", self.name)))?;
        Ok(Resource { path: path.to_owned(), range, digest })
    }
}

/// Splits `path:start:end` at its last two colons; the path may have more.
fn split_shard(name: &str) -> Option<(&str, Option<Range<u64>>)> {
    let (rest, end) = name.rsplit_once(':')?;
    let (path, start) = rest.rsplit_once(':')?;
    let number = |digits: &str| digits.parse().ok().filter(|_| digits.bytes().all(|digit| digit.is_ascii_digit()));
    let range: Range<u64> = number(start)?..number(end)?;
    (range.start < range.end).then_some((path, Some(range)))
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| if let [high, low] = pair { Some(digit(*high)? << 4 | digit(*low)?) } else { None }).collect()
}
