//! `headland model push`: a folder becomes a ModelPack artifact in a gateway's registry.

mod digests;

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};
use headland_package::oci::{self, PackedFile, SIGNATURE_BYTES_MAX};
use headland_package::{ModelName, ModelPackage, folder};
use serde_json::json;

use crate::args::{PushModel, Target};
use crate::client::{Server, print, size, token_of_target};
use crate::signing::read_small;
use crate::transfer::Registry;
use crate::transfer::parcel::{Parcel, Pushed};
use crate::transfer::upload::LocalBlob;

/// Pushes the model and says what that took.
pub fn push_model(options: &PushModel) -> Result<()> {
    let started = Instant::now();
    let package = ModelPackage::open(&options.folder)?;
    let name = match options.name.as_ref().or(package.name.as_ref()) {
        Some(name) => name.clone(),
        None => name_of_folder(&options.folder)?,
    };
    let version = options.version.clone().or(package.version.clone()).unwrap_or_default();
    let files = digests::of_folder(&options.folder, &package.files)?;
    let packed = oci::pack_model(&name, &version, &files)?;
    let content = |file: &PackedFile| package.files.get(&file.path).cloned();
    let blob =
        |file: &PackedFile| Some(LocalBlob { name: file.path.clone(), digest: file.digest, bytes: content(file)? });
    let parcel = Parcel {
        label: format!("{name}:{version}"),
        tag: version.to_string(),
        packed,
        blobs: files.iter().filter_map(blob).collect(),
        signature: read_signature(options.signature.as_deref(), &options.folder.join(folder::SIGNATURE))?,
    };
    let files = parcel.blobs.len();
    let registry = registry(&options.target, oci::model_repository(&name)?)?;
    let reported = report(parcel, &registry, files, started, options.target.json);
    // Whatever went wrong, the next attempt looks at every byte.
    reported.inspect_err(|_| digests::forget(&options.folder))
}

/// A repository of the gateway that `target` names.
pub fn registry(target: &Target, repository: String) -> Result<Registry> {
    let server = Server::parse(&target.server)?;
    let token = token_of_target(&server, target)?;
    Ok(Registry::new(server, repository, token))
}

/// The signature named, or the one that lies where it usually does.
pub fn read_signature(named: Option<&Path>, usual: &Path) -> Result<Option<Vec<u8>>> {
    match named {
        Some(path) => read_small(path, SIGNATURE_BYTES_MAX).map(Some),
        None if usual.is_file() => read_small(usual, SIGNATURE_BYTES_MAX).map(Some),
        None => Ok(None),
    }
}

/// Pushes and says what that took.
pub fn report(parcel: Parcel, registry: &Registry, files: usize, started: Instant, as_json: bool) -> Result<()> {
    let (label, tag, signed) = (parcel.label.clone(), parcel.tag.clone(), parcel.signature.is_some());
    let Pushed { digest, blobs_sent } = parcel.push(registry)?;
    let bytes = registry.sent_bytes();
    let took = started.elapsed();
    let said = json!({
        "repository": registry.repository(), "version": tag, "digest": digest.to_string(), "signed": signed,
        "files": files, "blobs_sent": blobs_sent, "bytes_sent": bytes, "took_ms": took.as_millis() as u64,
    });
    print(as_json, &said, |_| {
        let what = match (bytes, blobs_sent) {
            (0, _) => "was there already, nothing sent".to_owned(),
            (bytes, 0) => format!("files were there already, {} sent", size(bytes)),
            (bytes, blobs) => format!("{blobs} blobs, {} sent", size(bytes)),
        };
        let signature = if signed { "signed" } else { "not signed" };
        let server = registry.server().url();
        format!("pushed {label} to {server}: {what} in {:.1} s, {signature}, {digest}\n", took.as_secs_f64())
    })
}

fn name_of_folder(path: &Path) -> Result<ModelName> {
    let folder = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let folder = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    folder.parse().with_context(|| format!("the folder {} gives no usable name; say --name NAME", path.display()))
}
