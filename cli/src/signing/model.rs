//! `headland model sign`.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use headland_trust::contents::{Folder, HashAlgorithm};
use headland_trust::oms::{self, Manifest, SHARD_BYTES_DEFAULT, SignOptions};
use headland_trust::{Certificate, SigningKey};
use serde_json::json;

use super::progress::{self, Progress};
use super::{paths, read_small, short, signing_key};
use crate::args::{HashName, MethodName, SignModel};
use crate::client::{print, size};

/// Signs the model and writes the signature.
pub fn sign_model(options: &SignModel) -> Result<()> {
    if options.method == MethodName::Shards && options.hash == HashName::Blake3 {
        bail!("--method shards does not go with --hash blake3; leave one of them out");
    }
    let model = &options.model;
    let key = signing_key(&options.key)?;
    let path = options.signature.clone().unwrap_or_else(|| paths::model_signature(model));
    let folder = Folder::open(model).context("cannot sign it")?;
    let how = SignOptions {
        hash: HashAlgorithm::from(options.hash),
        shard_bytes: (options.method == MethodName::Shards).then_some(SHARD_BYTES_DEFAULT),
        allow_symlinks: options.allow_symlinks,
        ignore_paths: paths::ignored(model, &path, &options.ignore_paths)?,
    };
    let (folder, progress) = Progress::watch(folder);
    let (bundle, signer) = sign(&folder, &key, &options.certificate_chain, &how)
        .with_context(|| format!("cannot sign {}", model.display()))?;
    drop(progress);
    std::fs::write(&path, &bundle).with_context(|| format!("cannot write {}", path.display()))?;
    let (_, manifest) = oms::parse(bundle.as_bytes()).context("reading the signature back")?;
    let files = signed_files(&manifest);
    let bytes = progress::bytes_of(&folder, &files);
    let said = json!({
        "model": model, "signature": path, "signer": signer, "key": key.public().hint(),
        "hash": how.hash.as_str(), "files": files, "bytes": bytes,
    });
    print(options.json, &said, |_| {
        let (model, count, size, hash) = (model.display(), files.len(), size(bytes), how.hash);
        format!("signed {model}: {count} file(s), {size}, {hash}, by {signer}\nwrote {}\n", path.display())
    })
}

/// The bundle, and who it says has signed.
fn sign(folder: &Folder, key: &SigningKey, chain: &[PathBuf], how: &SignOptions) -> Result<(String, String)> {
    if chain.is_empty() {
        let bundle = oms::sign_with_key(folder, &folder.name(), key, how)?;
        return Ok((bundle, format!("key {}", short(key.public().hint()))));
    }
    let mut certificates = Vec::new();
    for path in chain {
        let pem = read_small(path, super::MATERIAL_BYTES_MAX)?;
        certificates.extend(Certificate::all_from_pem(&pem).with_context(|| path.display().to_string())?);
    }
    // Whatever the order of the files, the signer's certificate is the one for the key.
    let leaf = certificates.iter().position(|one| one.key().is_ok_and(|certified| &certified == key.public()));
    let leaf = certificates.remove(leaf.unwrap_or(0));
    let bundle = oms::sign_with_certificate(folder, &folder.name(), key, &leaf, &certificates, how)?;
    Ok((bundle, leaf.subject()))
}

fn signed_files(manifest: &Manifest) -> Vec<String> {
    let mut files: Vec<String> = manifest.resources.iter().map(|resource| resource.path.clone()).collect();
    files.dedup();
    files
}
