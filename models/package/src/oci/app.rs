//! An app as an artifact: its `headland.app.toml`, and the components it names.

use serde::Serialize;

use super::paths::check_files;
use super::{
    ANNOTATION_TITLE, ANNOTATION_VERSION, ARTIFACT_TYPE_APP, ArtifactError, Descriptor, MEDIA_TYPE_WASM,
    MEDIA_TYPE_WASM_CONFIG, Manifest, Packed, PackedFile,
};
use crate::{ModelVersion, Sha256Digest};

const APP: &str = "an app";
/// The path the app's own manifest has among its files.
const APP_MANIFEST: &str = "headland.app.toml";

/// The files of an app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppFiles {
    /// `headland.app.toml`.
    pub manifest: PackedFile,
    /// The components, by the paths the manifest has for them.
    pub components: Vec<PackedFile>,
}

/// The config readers of WebAssembly artifacts expect. `created` is theirs to require; a fixed one keeps equal apps equal.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Config<'a> {
    created: &'static str,
    architecture: &'static str,
    os: &'static str,
    layer_digests: Vec<&'a Sha256Digest>,
}

/// Describes an app's files as an artifact. `manifest` is the size and digest of `headland.app.toml`; a component's path
/// is what `headland.app.toml` writes.
///
/// # Errors
/// [`ArtifactError`] when a path leads out of the app's folder or stands there twice.
pub fn pack_app(
    version: &ModelVersion,
    manifest: &Descriptor,
    components: &[PackedFile],
) -> Result<Packed, ArtifactError> {
    check_files(APP, components)?;
    let mut components: Vec<&PackedFile> = components.iter().collect();
    components.sort_by(|a, b| a.path.cmp(&b.path));
    let config = Config {
        created: "1970-01-01T00:00:00Z",
        architecture: "wasm",
        os: "wasip2",
        layer_digests: components.iter().map(|file| &file.digest).collect(),
    };
    let config = serde_json::to_vec(&config).expect("strings and lists are JSON");
    let manifest_layer =
        Descriptor::new(ARTIFACT_TYPE_APP, manifest.digest, manifest.size).annotated(ANNOTATION_TITLE, APP_MANIFEST);
    let component_layers = components
        .into_iter()
        .map(|file| Descriptor::new(MEDIA_TYPE_WASM, file.digest, file.size).annotated(ANNOTATION_TITLE, &file.path));
    let layers = component_layers.chain([manifest_layer]).collect();
    let mut manifest = Manifest::new(ARTIFACT_TYPE_APP, Descriptor::of(MEDIA_TYPE_WASM_CONFIG, &config), layers);
    manifest.annotations.insert(ANNOTATION_VERSION.to_owned(), version.to_string());
    Ok(Packed { manifest: manifest.to_bytes(), config })
}

/// The files an app's manifest lists.
///
/// # Errors
/// [`ArtifactError`] when it is no app, has not exactly one `headland.app.toml`, or a component's path is refused.
pub fn app_files(manifest: &Manifest) -> Result<AppFiles, ArtifactError> {
    if manifest.artifact_type() != ARTIFACT_TYPE_APP {
        let found = manifest.artifact_type().chars().take(128).collect();
        return Err(ArtifactError::Kind { wanted: APP, expected: ARTIFACT_TYPE_APP, found });
    }
    if manifest.config.media_type != MEDIA_TYPE_WASM_CONFIG {
        let found = manifest.config.media_type.chars().take(128).collect();
        return Err(ArtifactError::Config { wanted: APP, expected: MEDIA_TYPE_WASM_CONFIG, found });
    }
    let (manifests, others): (Vec<&Descriptor>, Vec<&Descriptor>) =
        manifest.layers.iter().partition(|layer| layer.media_type == ARTIFACT_TYPE_APP);
    let [app_manifest] = manifests[..] else { return Err(ArtifactError::AppManifests(manifests.len())) };
    let components: Vec<PackedFile> = others.into_iter().map(component).collect::<Result<_, _>>()?;
    check_files(APP, &components)?;
    let manifest = PackedFile { path: APP_MANIFEST.to_owned(), size: app_manifest.size, digest: app_manifest.digest };
    Ok(AppFiles { manifest, components })
}

fn component(layer: &Descriptor) -> Result<PackedFile, ArtifactError> {
    if layer.media_type != MEDIA_TYPE_WASM {
        return Err(ArtifactError::LayerType {
            digest: layer.digest,
            found: layer.media_type.chars().take(128).collect(),
            problem: "an app's layers are `application/wasm` components and one headland.app.toml",
        });
    }
    let path = layer
        .annotations
        .get(ANNOTATION_TITLE)
        .ok_or(ArtifactError::NoPath { digest: layer.digest, annotation: ANNOTATION_TITLE })?;
    Ok(PackedFile { path: path.clone(), size: layer.size, digest: layer.digest })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str) -> PackedFile {
        PackedFile { path: path.to_owned(), size: 3, digest: Sha256Digest::of(path.as_bytes()) }
    }

    fn pack(paths: &[&str]) -> Result<Packed, ArtifactError> {
        let files: Vec<PackedFile> = paths.iter().map(|path| file(path)).collect();
        pack_app(&"3".parse().unwrap(), &Descriptor::of(ARTIFACT_TYPE_APP, b"name = 'x'"), &files)
    }

    fn packed(paths: &[&str]) -> Manifest {
        Manifest::parse(&pack(paths).unwrap().manifest).unwrap()
    }

    #[test]
    fn an_app_packed_is_the_app_read_back() {
        let files = app_files(&packed(&["b.wasm", "a/a.wasm"])).unwrap();
        assert_eq!(files.components, [file("a/a.wasm"), file("b.wasm")]);
        assert_eq!(files.manifest.digest, Sha256Digest::of(b"name = 'x'"));
        assert_eq!(pack(&["b", "a"]), pack(&["a", "b"]));
    }

    #[test]
    fn components_outside_the_apps_folder_are_not_packed() {
        let error = pack(&["../target/x.wasm"]).unwrap_err().to_string();
        assert!(error.contains("must lie inside the model's or app's folder"), "{error}");
        assert_eq!(pack(&[]), Err(ArtifactError::NoFiles(APP)));
    }

    #[test]
    fn a_manifest_that_is_no_app_is_refused_each_for_its_reason() {
        let changed = |change: fn(&mut Manifest)| {
            let mut manifest = packed(&["a.wasm", "b.wasm"]);
            change(&mut manifest);
            app_files(&manifest).unwrap_err().to_string()
        };
        for (error, expected) in [
            (changed(|m| m.artifact_type = Some("x/y".into())), "artifact type is `x/y`, where an app has"),
            (changed(|m| m.config.media_type = "x/y".into()), "config has media type `x/y`"),
            (changed(|m| drop(m.layers.pop())), "0 layers of type"),
            (changed(|m| m.layers.extend(m.layers.last().cloned())), "2 layers of type"),
            (changed(|m| m.layers[0].media_type = "x/y".into()), "an app's layers are"),
            (changed(|m| m.layers[0].annotations.clear()), "has no annotation `org.opencontainers.image.title`"),
            (changed(|m| drop(m.layers.drain(..2))), "an app without files"),
            (changed(|m| m.layers[1] = m.layers[0].clone()), "is there twice"),
            (
                changed(|m| drop(m.layers[0].annotations.insert(ANNOTATION_TITLE.into(), "../x".into()))),
                "must lie inside",
            ),
        ] {
            assert!(error.contains(expected), "{expected}: {error}");
        }
    }
}
