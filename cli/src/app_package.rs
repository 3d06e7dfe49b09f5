//! An app's folder made into the artifact it is pushed as. Whoever signs, tests or pushes an app does it with this, so
//! that all mean the same manifest, byte for byte.

use std::collections::BTreeSet;
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
    /// The bytes of `headland.app.toml`.
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
        let app = AppManifest::parse(&String::from_utf8_lossy(&bytes), manifest)?;
        // Two routes may lead to one component.
        let components: BTreeSet<&str> = app.routes.iter().map(|route| route.component.as_str()).collect();
        let components = components.into_iter().map(|path| component(path, app.component_file(path)));
        let components = components.collect::<Result<Vec<_>>>()?;
        let files: Vec<PackedFile> = components.iter().map(|(file, _)| file.clone()).collect();
        let packed = oci::pack_app(version, &Descriptor::of(ARTIFACT_TYPE_APP, &bytes), &files)
            .with_context(|| format!("{} cannot be packed; keep its components beside it", manifest.display()))?;
        Ok(AppPackage { name: app.name, version: version.clone(), manifest: bytes, components, packed })
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
        let (dir, manifest) = app("../x.wasm");
        std::fs::create_dir(dir.path().join("app")).unwrap();
        let moved = dir.path().join("app/headland.app.toml");
        std::fs::rename(manifest, &moved).unwrap();
        std::fs::write(dir.path().join("x.wasm"), "wasm").unwrap();
        let error = format!("{:#}", AppPackage::read(&moved, &version("1")).err().unwrap());
        assert!(error.contains("`../x.wasm`") && error.contains("keep its components beside it"), "{error}");
    }
}
