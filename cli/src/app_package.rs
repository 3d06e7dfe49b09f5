//! An app's folder made into the artifact it is pushed as. Whoever signs, tests or pushes an app does it with this, so
//! that all mean the same manifest, byte for byte.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use headland_package::oci::{self, ARTIFACT_TYPE_APP, Descriptor, Packed, PackedFile};
use headland_package::strict_toml::FILE_BYTES_MAX;
use headland_package::{AppManifest, AppName, ModelVersion, Sha256Digest};

use crate::signing::read_small;

/// An app, ready to be pushed.
pub struct AppPackage {
    pub name: AppName,
    pub version: ModelVersion,
    /// `headland.app.toml` as it is pushed: as it is, or with the components that lie elsewhere beside it.
    pub manifest: Vec<u8>,
    /// The components, and where each is read from.
    pub components: Vec<(PackedFile, PathBuf)>,
    /// The OCI manifest and its config.
    pub packed: Packed,
}

impl AppPackage {
    /// Reads the app of this `headland.app.toml`, to be pushed as this version. Hashes its components.
    pub fn read(manifest: &Path, version: &ModelVersion) -> Result<Self> {
        let bytes = read_small(manifest, FILE_BYTES_MAX)?;
        let text = String::from_utf8(bytes).with_context(|| format!("{} is not UTF-8", manifest.display()))?;
        let app = AppManifest::parse(&text, manifest)?;
        // Two routes may lead to one component.
        let written: BTreeSet<&str> = app.routes.iter().map(|route| route.component.as_str()).collect();
        let inside: BTreeMap<&str, String> = written.into_iter().map(|path| (path, inside(path))).collect();
        let text = if inside.iter().all(|(written, inside)| written == inside) { text } else { moved(&text, &inside)? };
        let components = inside.iter().map(|(written, inside)| component(inside, app.component_file(written)));
        let components = components.collect::<Result<Vec<_>>>()?;
        let files: Vec<PackedFile> = components.iter().map(|(file, _)| file.clone()).collect();
        let packed =
            oci::pack_app(version, &Descriptor::of(ARTIFACT_TYPE_APP, text.as_bytes()), &files).with_context(|| {
                format!("{} cannot be packed: its components need names of their own", manifest.display())
            })?;
        Ok(AppPackage { name: app.name, version: version.clone(), manifest: text.into_bytes(), components, packed })
    }

    /// The digest of the OCI manifest: what a signature is about.
    pub fn digest(&self) -> Sha256Digest {
        Sha256Digest::of(&self.packed.manifest)
    }

    /// Where the signature of the app with this `headland.app.toml` stands, unless said otherwise.
    pub fn signature_path(manifest: &Path) -> PathBuf {
        manifest.with_extension("sig")
    }
}

/// What a component is called in the package: as written, or by its file name if that leads out of the folder.
fn inside(written: &str) -> String {
    if oci::check_path(written).is_ok() {
        return written.to_owned();
    }
    Path::new(written).file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The manifest with its components where `inside` says.
fn moved(text: &str, inside: &BTreeMap<&str, String>) -> Result<String> {
    let mut manifest: toml::Table = text.parse()?;
    let routes = manifest.get_mut("route").and_then(toml::Value::as_array_mut);
    for route in routes.into_iter().flatten() {
        let component = route.get_mut("component");
        if let Some((inside, component)) = component.and_then(|it| Some((inside.get(it.as_str()?)?, it))) {
            *component = inside.clone().into();
        }
    }
    Ok(toml::to_string(&manifest)?)
}

/// A component, hashed.
fn component(path: &str, file: PathBuf) -> Result<(PackedFile, PathBuf)> {
    let failed = || format!("cannot read component {}; build it first", file.display());
    let size = file.metadata().with_context(failed)?.len();
    let digest = Sha256Digest::of_file(&file).with_context(failed)?;
    Ok((PackedFile { path: path.to_owned(), size, digest }, file))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app(component: &str) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("dist")).unwrap();
        std::fs::write(dir.path().join("dist/x.wasm"), "wasm").unwrap();
        let manifest = dir.path().join("headland.app.toml");
        let route = |path| format!("[[route]]\npath = '{path}'\ncomponent = '{component}'\n");
        std::fs::write(&manifest, format!("name = 'x'\n{}{}", route("/a"), route("/b"))).unwrap();
        (dir, manifest)
    }

    fn version(text: &str) -> ModelVersion {
        text.parse().unwrap()
    }

    #[test]
    fn equal_apps_have_equal_digests_wherever_they_stand() {
        let ((_one, one), (_other, other)) = (app("dist/x.wasm"), app("dist/x.wasm"));
        let digest = |manifest: &Path, v| AppPackage::read(manifest, &version(v)).unwrap().digest();
        assert_eq!(digest(&one, "1"), digest(&other, "1"));
        assert_ne!(digest(&one, "1"), digest(&one, "2"));
        let package = AppPackage::read(&one, &version("1")).unwrap();
        assert_eq!(package.components.len(), 1);
        assert_eq!(package.components[0].0.path, "dist/x.wasm");
        assert_eq!(AppPackage::signature_path(&one).file_name().unwrap(), "headland.app.sig");
    }

    #[test]
    fn a_component_elsewhere_or_not_there_is_named() {
        let error = |component| format!("{:#}", AppPackage::read(&app(component).1, &version("1")).err().unwrap());
        assert!(error("dist/y.wasm").contains("dist/y.wasm; build it first"), "{}", error("dist/y.wasm"));
    }

    #[test]
    fn components_elsewhere_are_packed_beside_the_manifest() {
        let (dir, manifest) = app("../dist/x.wasm");
        std::fs::create_dir(dir.path().join("app")).unwrap();
        let elsewhere = dir.path().join("app/headland.app.toml");
        std::fs::rename(manifest, &elsewhere).unwrap();
        let package = AppPackage::read(&elsewhere, &version("1")).unwrap();
        let packed = AppManifest::parse(&String::from_utf8(package.manifest).unwrap(), &elsewhere).unwrap();
        assert!(packed.routes.iter().all(|route| route.component == "x.wasm"));
        assert_eq!((packed.routes.len(), package.components[0].0.path.as_str()), (2, "x.wasm"));

        // Two that would have one name.
        std::fs::write(dir.path().join("x.wasm"), "other").unwrap();
        let more = "[[route]]\npath = '/c'\ncomponent = '../x.wasm'\n";
        let text = std::fs::read_to_string(&elsewhere).unwrap() + more;
        std::fs::write(&elsewhere, text).unwrap();
        let error = format!("{:#}", AppPackage::read(&elsewhere, &version("1")).err().unwrap());
        assert!(error.contains("names of their own") && error.contains("`x.wasm` is there twice"), "{error}");
    }
}
