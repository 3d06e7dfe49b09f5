//! A model as a ModelPack artifact: one raw layer per file, so that a layer's digest is the file's digest.

use serde::Serialize;

use super::paths::check_files;
use super::{
    ANNOTATION_FILEPATH, ANNOTATION_TITLE, ARTIFACT_TYPE_MODEL, ArtifactError, Descriptor, MEDIA_TYPE_DOC,
    MEDIA_TYPE_MODEL_CONFIG, MEDIA_TYPE_WEIGHT, MEDIA_TYPE_WEIGHT_CONFIG, Manifest, Packed, PackedFile,
};
use crate::{ModelName, ModelVersion, Sha256Digest};

const MODEL: &str = "a model";
/// Layers that hold one file as it is. Archives are not unpacked: their files would have no digest of their own here.
const RAW_TYPES: [&str; 5] = [
    MEDIA_TYPE_WEIGHT,
    MEDIA_TYPE_WEIGHT_CONFIG,
    MEDIA_TYPE_DOC,
    "application/vnd.cncf.model.code.v1.raw",
    "application/vnd.cncf.model.dataset.v1.raw",
];
/// Extensions of weights, and the format each is.
const WEIGHTS: [(&str, &str); 4] =
    [("safetensors", "safetensors"), ("onnx", "onnx"), ("gguf", "gguf"), ("bin", "pytorch")];

/// ModelPack's config: what the model is, and its layers once more.
#[derive(Serialize)]
struct Config<'a> {
    descriptor: About<'a>,
    config: Technical,
    modelfs: ModelFs<'a>,
}

#[derive(Serialize)]
struct About<'a> {
    name: &'a str,
    version: &'a str,
}

#[derive(Serialize)]
struct Technical {
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<&'static str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ModelFs<'a> {
    r#type: &'static str,
    diff_ids: Vec<&'a Sha256Digest>,
}

/// Describes a model's files as an artifact. Layers are in the order of their paths, whatever the order given.
///
/// # Errors
/// [`ArtifactError`] when there are no files, too many, or one's path is refused.
pub fn pack_model(name: &ModelName, version: &ModelVersion, files: &[PackedFile]) -> Result<Packed, ArtifactError> {
    check_files(MODEL, files)?;
    let mut files: Vec<&PackedFile> = files.iter().collect();
    files.sort_by(|a, b| a.path.cmp(&b.path));
    let config = Config {
        descriptor: About { name: name.as_str(), version: version.as_str() },
        config: Technical { format: files.iter().find_map(|file| weight_format(&file.path)) },
        modelfs: ModelFs { r#type: "layers", diff_ids: files.iter().map(|file| &file.digest).collect() },
    };
    let config = serde_json::to_vec(&config).expect("strings and lists are JSON");
    let layers = files.into_iter().map(|file| {
        // The path twice: where ModelPack has it, and where tools that know nothing of models look for file names.
        Descriptor::new(layer_type(&file.path), file.digest, file.size)
            .annotated(ANNOTATION_FILEPATH, &file.path)
            .annotated(ANNOTATION_TITLE, &file.path)
    });
    let manifest =
        Manifest::new(ARTIFACT_TYPE_MODEL, Descriptor::of(MEDIA_TYPE_MODEL_CONFIG, &config), layers.collect());
    Ok(Packed { manifest: manifest.to_bytes(), config })
}

/// The files a model's manifest lists.
///
/// # Errors
/// [`ArtifactError`] when it is no model, a layer is an archive or has no path, or a path is refused.
pub fn model_files(manifest: &Manifest) -> Result<Vec<PackedFile>, ArtifactError> {
    if manifest.artifact_type() != ARTIFACT_TYPE_MODEL {
        let found = manifest.artifact_type().chars().take(128).collect();
        return Err(ArtifactError::Kind { wanted: MODEL, expected: ARTIFACT_TYPE_MODEL, found });
    }
    if manifest.config.media_type != MEDIA_TYPE_MODEL_CONFIG {
        let found = manifest.config.media_type.chars().take(128).collect();
        return Err(ArtifactError::Config { wanted: MODEL, expected: MEDIA_TYPE_MODEL_CONFIG, found });
    }
    let files: Vec<PackedFile> = manifest.layers.iter().map(model_file).collect::<Result<_, _>>()?;
    check_files(MODEL, &files)?;
    Ok(files)
}

fn model_file(layer: &Descriptor) -> Result<PackedFile, ArtifactError> {
    if !RAW_TYPES.contains(&layer.media_type.as_str()) {
        return Err(ArtifactError::LayerType {
            digest: layer.digest,
            found: layer.media_type.chars().take(128).collect(),
            problem: "only raw ModelPack layers are accepted, one file each: push the files, not an archive of them",
        });
    }
    let path = layer
        .annotations
        .get(ANNOTATION_FILEPATH)
        .ok_or(ArtifactError::NoPath { digest: layer.digest, annotation: ANNOTATION_FILEPATH })?;
    Ok(PackedFile { path: path.clone(), size: layer.size, digest: layer.digest })
}

fn weight_format(path: &str) -> Option<&'static str> {
    let extension = path.rsplit_once('.')?.1.to_ascii_lowercase();
    WEIGHTS.iter().find(|(known, _)| *known == extension).map(|(_, format)| *format)
}

fn layer_type(path: &str) -> &'static str {
    let name = path.rsplit_once('/').map_or(path, |(_, name)| name).to_ascii_lowercase();
    if weight_format(path).is_some() {
        MEDIA_TYPE_WEIGHT
    } else if name.ends_with(".md") || name.starts_with("license") || name.starts_with("readme") {
        MEDIA_TYPE_DOC
    } else {
        MEDIA_TYPE_WEIGHT_CONFIG
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str) -> PackedFile {
        PackedFile { path: path.to_owned(), size: 3, digest: Sha256Digest::of(path.as_bytes()) }
    }

    fn pack(paths: &[&str]) -> Result<Packed, ArtifactError> {
        let files: Vec<PackedFile> = paths.iter().map(|path| file(path)).collect();
        pack_model(&"minilm".parse().unwrap(), &"2.1".parse().unwrap(), &files)
    }

    fn packed(paths: &[&str]) -> Manifest {
        Manifest::parse(&pack(paths).unwrap().manifest).unwrap()
    }

    #[test]
    fn files_packed_are_the_files_read_back_in_order_of_path() {
        let manifest = packed(&["tokenizer.json", "README.md", "1_Pooling/config.json", "model.safetensors"]);
        let paths = ["1_Pooling/config.json", "README.md", "model.safetensors", "tokenizer.json"];
        assert_eq!(model_files(&manifest).unwrap(), paths.map(file));
        let types: Vec<&str> = manifest.layers.iter().map(|layer| layer.media_type.as_str()).collect();
        assert_eq!(types, [MEDIA_TYPE_WEIGHT_CONFIG, MEDIA_TYPE_DOC, MEDIA_TYPE_WEIGHT, MEDIA_TYPE_WEIGHT_CONFIG]);
    }

    #[test]
    fn the_same_files_in_any_order_are_the_same_artifact() {
        assert_eq!(pack(&["a", "b"]), pack(&["b", "a"]));
        assert_ne!(pack(&["a", "b"]), pack(&["a", "c"]));
    }

    #[test]
    fn the_config_is_modelpacks() {
        let packed = pack(&["model.onnx"]).unwrap();
        let config: serde_json::Value = serde_json::from_slice(&packed.config).unwrap();
        let expected = serde_json::json!({
            "descriptor": { "name": "minilm", "version": "2.1" },
            "config": { "format": "onnx" },
            "modelfs": { "type": "layers", "diffIds": [Sha256Digest::of(b"model.onnx").to_string()] },
        });
        assert_eq!(config, expected);
        let manifest = Manifest::parse(&packed.manifest).unwrap();
        assert_eq!(manifest.config, Descriptor::of(MEDIA_TYPE_MODEL_CONFIG, &packed.config));
    }

    #[test]
    fn files_that_cannot_be_a_model_are_not_packed() {
        assert_eq!(pack(&[]), Err(ArtifactError::NoFiles(MODEL)));
        assert!(matches!(pack(&["../x"]), Err(ArtifactError::Path { .. })));
        assert!(matches!(pack(&["a", "a"]), Err(ArtifactError::DuplicatePath(_))));
        let many: Vec<String> = (0..10_000).map(|n| n.to_string()).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(pack(&many), Err(ArtifactError::TooManyFiles(10_000)));
    }

    #[test]
    fn a_manifest_that_is_no_model_is_refused_each_for_its_reason() {
        let changed = |change: fn(&mut Manifest)| {
            let mut manifest = packed(&["a", "model.onnx"]);
            change(&mut manifest);
            model_files(&manifest).unwrap_err().to_string()
        };
        let path = |manifest: &mut Manifest, path: &str| {
            manifest.layers[0].annotations.insert(ANNOTATION_FILEPATH.to_owned(), path.to_owned());
        };
        for (error, expected) in [
            (changed(|m| m.artifact_type = Some("x/y".into())), "artifact type is `x/y`, where a model has"),
            (changed(|m| m.artifact_type = None), "where a model has"),
            (changed(|m| m.config.media_type = "x/y".into()), "config has media type `x/y`"),
            (changed(|m| m.layers.clear()), "a model without files"),
            (
                changed(|m| m.layers[0].media_type = "application/vnd.cncf.model.weight.v1.tar+gzip".into()),
                "not an archive",
            ),
            (changed(|m| m.layers[0].annotations.clear()), "has no annotation `org.cncf.model.filepath`"),
        ] {
            assert!(error.contains(expected), "{expected}: {error}");
        }
        for (given, expected) in [
            ("../x", "must lie inside"),
            ("/etc/passwd", "is absolute"),
            ("model.onnx", "is there twice"),
            ("model.onnx/x", "both file and folder"),
            ("a\\b", "backslash"),
            ("a\0b", "control character"),
        ] {
            let mut manifest = packed(&["a", "model.onnx"]);
            path(&mut manifest, given);
            let error = model_files(&manifest).unwrap_err().to_string();
            assert!(error.contains(expected), "{given:?}: {error}");
        }
    }
}
