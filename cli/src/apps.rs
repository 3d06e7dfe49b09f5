//! `headland app list`, `show`, `push`, `deploy`, `rollback` and `rm`.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use headland_package::oci::{self, PackedFile};
use headland_package::{AppManifest, AppName, ModelVersion};
use serde_json::{Value, json};
use ureq::http::Method;

use crate::app_package::AppPackage;
use crate::args::{DeployApp, PushApp, Target};
use crate::client::{Gateway, items, outline, print, table, text};
use crate::push::{read_signature, registry, report};
use crate::transfer::parcel::Parcel;
use crate::transfer::upload::LocalBlob;
use crate::transfer::{Registry, Retries, Stop};

/// `headland app list`.
pub fn list(target: &Target) -> Result<()> {
    let apps = Gateway::open(target)?.get("/admin/v1/apps")?;
    print(target.json, &apps, |apps| {
        let rows = items(&apps["apps"]).flat_map(|app| {
            let about = [text(app, "name"), text(app, "version"), text(app, "state")];
            let mut routes: Vec<_> = items(&app["routes"])
                .map(|route| {
                    let host = route["host"].as_str().unwrap_or("any").to_owned();
                    [host, text(route, "path"), text(route, "weight"), text(app, "requests")]
                })
                .collect();
            if routes.is_empty() {
                // In the registry, and not deployed.
                routes.push(["-", "-", "-", "-"].map(str::to_owned));
            }
            routes.into_iter().map(move |[host, path, weight, requests]| {
                let [name, version, state] = about.clone();
                [name, version, state, host, path, weight, requests]
            })
        });
        table(["APP", "VERSION", "STATE", "HOST", "PATH", "WEIGHT", "REQUESTS"], rows)
    })
}

/// `headland app show`.
pub fn show(name: &AppName, target: &Target) -> Result<()> {
    let app = Gateway::open(target)?.get(&format!("/admin/v1/apps/{name}"))?;
    print(target.json, &app, outline)
}

/// `headland app push`.
pub fn push(options: &PushApp) -> Result<()> {
    let started = Instant::now();
    let (parcel, registry) =
        prepare(&options.manifest, options.version.as_ref(), options.signature.as_deref(), &options.target)?;
    let files = parcel.blobs.len();
    report(parcel, &registry, files, started, options.target.json)
}

/// `headland app deploy`.
pub fn deploy(options: &DeployApp) -> Result<()> {
    let manifest = Path::new(&options.app);
    let (name, version) = if manifest.is_file() || options.app.ends_with(".toml") {
        let signature = options.signature.as_deref();
        let (parcel, registry) = prepare(manifest, options.version.as_ref(), signature, &options.target)?;
        let (label, tag) = (parcel.label.clone(), parcel.tag.clone());
        let pushed = parcel.push(&registry)?;
        eprintln!("pushed {label}, {}", pushed.digest);
        (AppManifest::read(manifest)?.name, tag.parse::<ModelVersion>()?)
    } else {
        let Some((name, version)) = options.app.split_once(':') else {
            bail!("`{}` is neither NAME:VERSION nor a headland.app.toml that is there", options.app);
        };
        (name.parse()?, version.parse()?)
    };
    let path = format!("/admin/v1/apps/{name}/deployment");
    let gateway = Gateway::open(&options.target)?;
    let app = gateway.send(Method::PUT, &path, Some(&json!({ "version": version })))?;
    print(options.target.json, &app, |app| format!("deployed {name}:{version}{}\n", routes(app)))
}

/// `headland app rollback`.
pub fn rollback(name: &AppName, target: &Target) -> Result<()> {
    let app =
        Gateway::open(target)?.send(Method::POST, &format!("/admin/v1/apps/{name}/rollback"), Some(&json!({})))?;
    print(target.json, &app, |app| format!("{name} is back at version {}{}\n", text(app, "version"), routes(app)))
}

/// `headland app rm`.
pub fn remove(name: &AppName, target: &Target) -> Result<()> {
    Gateway::open(target)?.send(Method::DELETE, &format!("/admin/v1/apps/{name}"), None)?;
    print(target.json, &json!({ "name": name }), |_| format!("{name} is deployed no more; its versions stay\n"))
}

fn routes(app: &Value) -> String {
    let routes: Vec<String> = items(&app["routes"])
        .map(|route| format!("{}{}", route["host"].as_str().unwrap_or(""), text(route, "path")))
        .collect();
    if routes.is_empty() { String::new() } else { format!(", at {}", routes.join(", ")) }
}

fn prepare(
    manifest: &Path,
    version: Option<&ModelVersion>,
    signature: Option<&Path>,
    target: &Target,
) -> Result<(Parcel, Registry)> {
    let name = AppManifest::read(manifest)?.name;
    let signature = read_signature(signature, &AppPackage::signature_path(manifest))?;
    let registry = registry(target, oci::app_repository(&name)?)?;
    let version = match version {
        Some(version) => version.clone(),
        None if signature.is_some() => {
            bail!("say --version: {} is signed, and its signature is of one version", manifest.display())
        }
        None => next_version(manifest, &registry)?,
    };
    let package = AppPackage::read(manifest, &version)?;
    let mut blobs = vec![LocalBlob::of("headland.app.toml", package.manifest)];
    for (PackedFile { path, digest, .. }, file) in package.components {
        let bytes = std::fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
        blobs.push(LocalBlob { name: path, digest, bytes: bytes.into() });
    }
    let label = format!("{name}:{version}");
    Ok((Parcel { label, tag: version.to_string(), packed: package.packed, blobs, signature }, registry))
}

/// The highest version there is if it is this very app, or else the number after the highest.
fn next_version(manifest: &Path, registry: &Registry) -> Result<ModelVersion> {
    let stop = Stop::default();
    let tags = Retries::new(&stop).run(|| registry.tags())?;
    let Some(highest) = tags.iter().filter_map(|tag| tag.parse::<ModelVersion>().ok()).max() else {
        return Ok(ModelVersion::default());
    };
    let there = Retries::new(&stop).run(|| registry.manifest_digest(highest.as_str()))?;
    if there == Some(AppPackage::read(manifest, &highest)?.digest()) {
        return Ok(highest);
    }
    let number = tags.iter().filter_map(|tag| tag.parse::<u64>().ok()).max().unwrap_or(0);
    Ok(number.saturating_add(1).to_string().parse()?)
}
