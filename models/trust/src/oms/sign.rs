//! Signing a model: the list of its files, in an envelope, in a bundle that the reference tool accepts.

use serde_json::{Value, json};

use super::manifest::root_digest;
use super::{PREDICATE_TYPE, RESOURCES_MAX, Resource, hashing, names};
use crate::bundle::{self, CHAIN_MAX, Material};
use crate::certificate::{Certificate, CertificateError};
use crate::contents::{Contents, ContentsError, HashAlgorithm, REPOSITORY_FILES, hex};
use crate::dsse::{self, STATEMENT_TYPE};
use crate::keys::{KeyError, SigningKey};
use crate::plain::Plain;

/// The reference tool's size of a shard, in bytes.
pub const SHARD_BYTES_DEFAULT: u64 = 1_000_000_000;

/// How a model is signed.
#[derive(Clone, Debug)]
pub struct SignOptions {
    /// The hash of its files.
    pub hash: HashAlgorithm,
    /// Cut files into pieces of this many bytes, which the reference tool hashes in parallel. Has no effect with
    /// BLAKE3, as in the reference tool.
    pub shard_bytes: Option<u64>,
    /// Whether files may be symbolic links.
    pub allow_symlinks: bool,
    /// Paths below the model to leave out, besides a repository's own files; the signature itself, when it is there.
    pub ignore_paths: Vec<String>,
}

impl Default for SignOptions {
    /// SHA-256 of whole files, no links, nothing left out.
    fn default() -> Self {
        SignOptions { hash: HashAlgorithm::Sha256, shard_bytes: None, allow_symlinks: false, ignore_paths: Vec::new() }
    }
}

/// Why a model cannot be signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// It cannot be read.
    #[error("the model cannot be read")]
    Contents(#[from] ContentsError),
    /// It has no files, or none that a signature would cover.
    #[error("the model has no files to sign")]
    Empty,
    /// It has too many.
    #[error("the model has more than {max} files or shards")]
    TooMany {
        /// [`RESOURCES_MAX`].
        max: usize,
    },
    /// A file whose name no verifier would accept.
    #[error("`{}` cannot be signed: {why}", Plain(path))]
    Name {
        /// The file.
        path: String,
        /// What is wrong with its name.
        why: &'static str,
    },
    /// A link, and links are not allowed.
    #[error("`{}` is a symbolic link; allow links, or ignore it", Plain(.0))]
    Symlink(String),
    /// Shards without size.
    #[error("shards of zero bytes cover nothing")]
    NoShardBytes,
    /// The key is broken.
    #[error("the private key cannot be used")]
    Key(#[from] KeyError),
    /// The certificate is.
    #[error("the signing certificate cannot be used")]
    Certificate(#[from] CertificateError),
    /// Certificate and key do not belong together.
    #[error("the certificate is for key {certified}, the private key is {given}")]
    OtherKey {
        /// The hint of the key in the certificate.
        certified: String,
        /// The hint of the private key.
        given: String,
    },
    /// A chain longer than verifiers read.
    #[error("the certificate chain is longer than {max}")]
    LongChain {
        /// [`CHAIN_MAX`].
        max: usize,
    },
}

/// Signs the contents with a key that verifiers must know. `name` is for people.
///
/// # Errors
/// When the contents cannot be read or signed.
pub fn sign_with_key(
    contents: &dyn Contents,
    name: &str,
    key: &SigningKey,
    options: &SignOptions,
) -> Result<String, SignError> {
    let material = Material::Key { hint: Some(key.public().hint().to_owned()) };
    sign(contents, name, key, &material, options)
}

/// Signs the contents with the key of a certificate; `issuers` are the certificates between it and the root that
/// verifiers know. `name` is for people.
///
/// # Errors
/// When the certificate is not for this key, or the contents cannot be read or signed.
pub fn sign_with_certificate(
    contents: &dyn Contents,
    name: &str,
    key: &SigningKey,
    certificate: &Certificate,
    issuers: &[Certificate],
    options: &SignOptions,
) -> Result<String, SignError> {
    let certified = certificate.key()?;
    if &certified != key.public() {
        let (certified, given) = (certified.hint().to_owned(), key.public().hint().to_owned());
        return Err(SignError::OtherKey { certified, given });
    }
    certificate.check_usage()?;
    if issuers.len() >= CHAIN_MAX {
        return Err(SignError::LongChain { max: CHAIN_MAX });
    }
    let issuers = issuers.iter().map(|issuer| issuer.der().to_vec()).collect();
    let material = Material::Certificate { leaf: certificate.der().to_vec(), issuers };
    sign(contents, name, key, &material, options)
}

fn sign(
    contents: &dyn Contents,
    name: &str,
    key: &SigningKey,
    material: &Material,
    options: &SignOptions,
) -> Result<String, SignError> {
    let options = normalize(options)?;
    let mut resources = list(contents, &options)?;
    hash(&mut resources, contents, options.hash)?;
    let envelope = dsse::sign_statement(statement(name, &resources, &options), key)?;
    Ok(bundle::write(material, &envelope))
}

/// The options as the signature will state them.
fn normalize(options: &SignOptions) -> Result<SignOptions, SignError> {
    let mut options = options.clone();
    if options.shard_bytes == Some(0) {
        return Err(SignError::NoShardBytes);
    }
    if options.hash == HashAlgorithm::Blake3 {
        options.shard_bytes = None;
    }
    options.ignore_paths.extend(REPOSITORY_FILES.map(str::to_owned));
    options.ignore_paths.sort();
    options.ignore_paths.dedup();
    Ok(options)
}

/// The resources still without digests, in the reference tool's order: by the parts of the path, then by position.
fn list(contents: &dyn Contents, options: &SignOptions) -> Result<Vec<Resource>, SignError> {
    let mut resources = Vec::new();
    for path in contents.paths() {
        if names::is_ignored(&path, options.ignore_paths.iter().map(String::as_str)) {
            continue;
        }
        if contents.is_symlink(&path) && !options.allow_symlinks {
            return Err(SignError::Symlink(path));
        }
        names::check(&path).map_err(|why| SignError::Name { path: path.clone(), why })?;
        let Some(bytes) = options.shard_bytes else {
            resources.push(Resource { path, range: None, digest: Vec::new() });
            continue;
        };
        if path.contains(':') {
            return Err(SignError::Name { path, why: "in shards, a name has no colon" });
        }
        let size = contents.size(&path).unwrap_or(0);
        let mut start = 0;
        while start < size {
            let end = start.saturating_add(bytes).min(size);
            resources.push(Resource { path: path.clone(), range: Some(start..end), digest: Vec::new() });
            start = end;
            if resources.len() > RESOURCES_MAX {
                break;
            }
        }
    }
    if resources.is_empty() {
        return Err(SignError::Empty);
    }
    if resources.len() > RESOURCES_MAX {
        return Err(SignError::TooMany { max: RESOURCES_MAX });
    }
    let position = |resource: &Resource| resource.range.as_ref().map(|range| range.start);
    resources.sort_by(|a, b| a.path.split('/').cmp(b.path.split('/')).then(position(a).cmp(&position(b))));
    Ok(resources)
}

fn hash(resources: &mut [Resource], contents: &dyn Contents, hash: HashAlgorithm) -> Result<(), ContentsError> {
    let cells: Vec<_> = resources.iter_mut().map(std::sync::Mutex::new).collect();
    hashing::for_each(&cells, |cell| {
        let mut resource = cell.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        resource.digest = contents.digest(&resource.path, hash, resource.range.clone())?;
        Ok(())
    })
}

/// The statement to sign (specification, sections 5 and 6).
fn statement(name: &str, resources: &[Resource], options: &SignOptions) -> Vec<u8> {
    let hash = options.hash;
    let (method, algorithm) = match options.shard_bytes {
        None => ("files", hash.to_string()),
        Some(bytes) => ("shards", format!("{hash}-sharded-{bytes}")),
    };
    let mut serialization = json!({
        "method": method,
        "hash_type": hash.as_str(),
        "allow_symlinks": options.allow_symlinks,
        "ignore_paths": options.ignore_paths,
    });
    if let Some(bytes) = options.shard_bytes {
        serialization["shard_size"] = bytes.into();
    }
    let listed = |resource: &Resource| {
        json!({
            "name": resource.name(), "digest": hex(&resource.digest), "algorithm": algorithm,
        })
    };
    let resources_json: Vec<Value> = resources.iter().map(listed).collect();
    let statement = json!({
        "_type": STATEMENT_TYPE,
        "subject": [{ "name": name, "digest": { "sha256": root_digest(resources).hex() } }],
        "predicateType": PREDICATE_TYPE,
        "predicate": { "serialization": serialization, "resources": resources_json },
    });
    statement.to_string().into_bytes()
}
