//! `headland model pull`: a model from a registry or the hub into a folder, every file checked, the folder whole or absent.

mod staging;

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Instant;

use anyhow::{Context, Result, anyhow, bail};
use headland_package::Sha256Digest;
use headland_package::folder::SIGNATURE;
use headland_package::oci::{
    ARTIFACT_TYPE_SIGNATURE, Document, Manifest, PackedFile, SIGNATURE_BYTES_MAX, model_files, signature_layer,
};
use serde_json::json;

use crate::args::PullModel;
use crate::client::{Server, print, size, token_of_source};
use crate::hub;
use crate::transfer::download::{Wanted, fetch};
use crate::transfer::registry::parse_reference;
use crate::transfer::{AT_ONCE, Progress, Registry, Retries, Stop, in_parallel};

pub use staging::Staging;

/// What a pull came to.
pub struct Pulled {
    /// The folder.
    pub output: PathBuf,
    /// What it is a copy of, for certain: a manifest's digest, or a commit.
    pub revision: String,
    /// Files in it.
    pub files: usize,
    /// Bytes that came over the network.
    pub bytes_fetched: u64,
    /// Whether there is a signature.
    pub signed: bool,
}

/// Pulls the model and says what that took.
pub fn pull_model(options: &PullModel) -> Result<()> {
    let started = Instant::now();
    let source = &options.source;
    let pulled = if let Some(source) = source.strip_prefix("oci://") {
        if !options.include.is_empty() {
            bail!("--include is for the hub; a model in a registry is pulled whole, as it was signed");
        }
        pull_oci(source, options)
    } else if let Some(source) = source.strip_prefix("hf://") {
        hub::pull(source, options)
    } else {
        bail!("`{source}` is no source; write oci://HOST[:PORT]/REPOSITORY:TAG or hf://OWNER/NAME[@REVISION]")
    };
    let pulled = pulled.with_context(|| format!("cannot pull {source}"))?;
    let took = started.elapsed();
    let said = json!({
        "source": source, "output": pulled.output, "revision": pulled.revision, "files": pulled.files,
        "bytes_fetched": pulled.bytes_fetched, "signed": pulled.signed, "took_ms": took.as_millis() as u64,
    });
    print(options.target.json, &said, |_| {
        let (output, files, fetched) = (pulled.output.display(), pulled.files, size(pulled.bytes_fetched));
        let signature = match pulled.signed {
            true => format!("signed: `headland model verify {output}` says by whom"),
            false => "not signed".to_owned(),
        };
        let took = took.as_secs_f64();
        format!("pulled {source} into {output}: {files} file(s), {fetched} fetched in {took:.1} s, {signature}\n")
    })
}

fn pull_oci(source: &str, options: &PullModel) -> Result<Pulled> {
    let (authority, path) = source.split_once('/').context("write oci://HOST[:PORT]/REPOSITORY:TAG")?;
    let (repository, reference) = parse_reference(path)?;
    let server = Server::of_authority(authority, options.plain_http)?;
    let token = token_of_source(&server, &options.target)?;
    let registry = Registry::new(server, repository.to_owned(), token);
    let stop = Stop::default();
    let found = Retries::new(&stop).run(|| registry.manifest(reference))?;
    let (document, bytes) = found.with_context(|| format!("there is no {path} at {authority}"))?;
    let Document::Manifest(manifest) = document else {
        bail!("it is a list of manifests; pull one of them by its digest");
    };
    let digest = Sha256Digest::of(&bytes);
    let files = model_files(&manifest)?;
    let signature = signature(&registry, digest, &stop).context("reading its signature")?;
    let name = repository.rsplit('/').next().unwrap_or(repository);
    let output = options.output.clone().unwrap_or_else(|| PathBuf::from(name));
    let signed = signature.is_some() || files.iter().any(|file| file.path == SIGNATURE);
    let pulled = |bytes_fetched| Pulled {
        output: output.clone(),
        revision: digest.to_string(),
        files: files.len(),
        bytes_fetched,
        signed,
    };
    if staging::is_there(&output, &files)? {
        return Ok(pulled(0));
    }
    let staging = Staging::open(&output, &digest.to_string())?;
    let fetched = fetch_files(&registry, &files, &staging, &stop)?;
    if let Some(bundle) = signature.filter(|_| !files.iter().any(|file| file.path == SIGNATURE)) {
        staging.write(SIGNATURE, &bundle)?;
    }
    staging.finish()?;
    Ok(pulled(fetched))
}

fn fetch_files(registry: &Registry, files: &[PackedFile], staging: &Staging, stop: &Stop) -> Result<u64> {
    let total = files.iter().map(|file| file.size).fold(0, u64::saturating_add);
    let progress = Progress::new("fetched", total);
    let fetched = Mutex::new(0);
    let result = in_parallel(files, AT_ONCE, stop, |file| {
        let part = staging.part(&file.path);
        let wanted = Wanted { name: &file.path, part: &part, size: Some(file.size), digest: Some(file.digest) };
        let bytes = fetch(&wanted, stop, &mut progress.file(), |offset| {
            let answer = registry.blob(file.digest, offset)?;
            let is_refusal = answer.status().is_client_error() && answer.status() != 416;
            if is_refusal { Err(registry.failed(answer)) } else { Ok(answer) }
        })?;
        staging.keep(&file.path)?;
        *fetched.lock().unwrap_or_else(PoisonError::into_inner) += bytes;
        progress.say(&format!("  fetched {}, {}", file.path, size(file.size)));
        Ok(())
    });
    progress.finish();
    result?;
    Ok(fetched.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// The first signature that refers to this manifest.
fn signature(registry: &Registry, digest: Sha256Digest, stop: &Stop) -> Result<Option<Vec<u8>>> {
    let referrers = Retries::new(stop).run(|| registry.referrers(digest, ARTIFACT_TYPE_SIGNATURE))?;
    let Some(referrer) = referrers.first() else { return Ok(None) };
    let reference = referrer.digest.to_string();
    let Some((Document::Manifest(manifest), _)) = Retries::new(stop).run(|| registry.manifest(&reference))? else {
        return Ok(None);
    };
    Ok(Some(bundle(registry, &manifest, digest, stop)?))
}

fn bundle(registry: &Registry, manifest: &Manifest, digest: Sha256Digest, stop: &Stop) -> Result<Vec<u8>> {
    let (layer, subject) = signature_layer(manifest)?;
    if subject.digest != digest {
        bail!("the registry offers a signature of {} for {digest}", subject.digest);
    }
    Retries::new(stop).run(|| {
        let mut answer = registry.blob(layer.digest, 0)?;
        if !answer.status().is_success() {
            return Err(registry.failed(answer));
        }
        let body = answer.body_mut().with_config().limit(SIGNATURE_BYTES_MAX).read_to_vec();
        let bundle = body.map_err(crate::transfer::Failure::of_http)?;
        if Sha256Digest::of(&bundle) == layer.digest {
            return Ok(bundle);
        }
        Err(anyhow!("it has digest {}, where {} was promised", Sha256Digest::of(&bundle), layer.digest).into())
    })
}

/// Whether `path` is a place for a folder that does not exist yet.
pub fn is_free(path: &Path) -> Result<bool> {
    match std::fs::read_dir(path) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error).with_context(|| format!("{} is in the way", path.display())),
    }
}
