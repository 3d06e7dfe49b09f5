//! Where signatures stand, and which paths lie inside a model.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use headland_package::folder::SIGNATURE;

/// Where the signature of this model stands, unless said otherwise: in its folder, or beside the one file it is.
pub fn model_signature(model: &Path) -> PathBuf {
    if model.is_dir() {
        return model.join(SIGNATURE);
    }
    let mut name = model.file_name().unwrap_or_default().to_owned();
    name.push(".sig");
    model.with_file_name(name)
}

/// The paths below the model that are not signed: those named, and the signature itself.
pub fn ignored(model: &Path, signature: &Path, named: &[PathBuf]) -> Result<Vec<String>> {
    let mut ignored = Vec::new();
    for path in named {
        match inside(model, path)? {
            Some(inside) => ignored.push(inside),
            None => bail!("--ignore-paths {} is not inside {}{}", path.display(), model.display(), hint(model, path)),
        }
    }
    ignored.extend(inside(model, signature)?);
    Ok(ignored)
}

fn hint(model: &Path, path: &Path) -> String {
    let meant = model.join(path);
    if meant.exists() { format!("; did you mean {}?", meant.display()) } else { String::new() }
}

/// What `path`, as seen from the current folder, is called inside the model. What it names need not be there.
fn inside(model: &Path, path: &Path) -> Result<Option<String>> {
    let resolve = |path: &Path| path.canonicalize().with_context(|| format!("cannot find {}", path.display()));
    let model = resolve(model)?;
    let full = match (path.parent(), path.file_name()) {
        // The last part as it is: a link in the model is ignored by its own name.
        (Some(parent), Some(name)) => {
            let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
            match parent.canonicalize() {
                Ok(parent) => parent.join(name),
                Err(_) => return Ok(None),
            }
        }
        _ => resolve(path)?,
    };
    let Ok(below) = full.strip_prefix(&model) else { return Ok(None) };
    Ok(below.to_str().filter(|below| !below.is_empty()).map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_stands_in_the_folder_or_beside_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("m.onnx");
        std::fs::write(&file, "").unwrap();
        assert_eq!(model_signature(dir.path()), dir.path().join("model.sig"));
        assert_eq!(model_signature(&file), dir.path().join("m.onnx.sig"));
    }

    #[test]
    fn ignored_paths_are_named_as_the_model_has_them() {
        let dir = tempfile::tempdir().unwrap();
        let model = dir.path().join("model");
        std::fs::create_dir_all(model.join("cache")).unwrap();
        let ignored = |named: &[PathBuf]| ignored(&model, &dir.path().join("elsewhere.sig"), named);
        assert_eq!(ignored(&[model.join("cache/"), model.join("not-there")]).unwrap(), ["cache", "not-there"]);
        assert_eq!(super::ignored(&model, &model.join("model.sig"), &[]).unwrap(), ["model.sig"]);
        for outside in [dir.path().join("x"), model.clone(), model.join("..")] {
            assert!(ignored(&[outside]).unwrap_err().to_string().contains("is not inside"));
        }
        let error = ignored(&["cache".into()]).unwrap_err().to_string();
        assert!(error.ends_with("model/cache?"), "{error}");
    }
}
