//! A model's folder on disk, or its one file, as [`ModelFiles`]: every file opened once, the large ones mapped.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use headland_nn_core::ModelFiles;

use crate::PackageError;
use crate::model::{NO_MODEL, is_of_models};

/// The file that holds a folder's signature; no part of what it signs.
pub const SIGNATURE: &str = "model.sig";
/// The most files one package may have.
pub const FILES_MAX: usize = 10_000;
/// The deepest folder nesting inside a package.
pub const DEPTH_MAX: usize = 16;
/// How names of files end that are a whole model.
pub const GGUF: &str = ".gguf";
/// Larger files are mapped instead of read.
const MAPPED_ABOVE_BYTES: u64 = 1 << 20;

/// What version control keeps at a folder's top; OpenSSF Model Signing's reference tool does not sign it either.
const NO_PART_OF_A_MODEL: [&str; 5] = [SIGNATURE, ".git", ".gitattributes", ".github", ".gitignore"];

/// Opens every file below `root`, but its signature and what version control put there. A GGUF file is a package by itself.
///
/// # Errors
/// [`PackageError`] naming what cannot be read, or what there is too much of.
pub fn open(root: &Path) -> Result<ModelFiles, PackageError> {
    read_all(root, list(root)?)
}

/// The same for a folder that is to be a model: one that has no file which models are made of is refused by their names alone,
/// whatever else there is.
///
/// # Errors
/// [`PackageError`] naming what cannot be read, what there is too much of, or that there is no model.
pub fn open_model(root: &Path) -> Result<ModelFiles, PackageError> {
    let files = list(root)?;
    if !files.iter().any(|(path, _)| is_of_models(path)) {
        return Err(PackageError::Unusable { path: root.to_owned(), problem: NO_MODEL.to_owned() });
    }
    read_all(root, files)
}

/// A file's path inside the package, and where it is.
type Listed = (String, PathBuf);

fn list(root: &Path) -> Result<Vec<Listed>, PackageError> {
    match single(root) {
        Some(name) => Ok(vec![(name.to_owned(), root.to_owned())]),
        None => {
            let mut files = Vec::new();
            add(root, "", 0, &mut files)?;
            Ok(files)
        }
    }
}

/// The name of a file that is a whole model.
fn single(root: &Path) -> Option<&str> {
    root.file_name()?.to_str().filter(|name| name.ends_with(GGUF) && root.is_file())
}

fn read_all(root: &Path, files: Vec<Listed>) -> Result<ModelFiles, PackageError> {
    let read = |(inside, path): Listed| match read(&path) {
        Ok(bytes) => Ok((inside, bytes)),
        Err(source) => Err(PackageError::Read { path, source }),
    };
    let files = files.into_iter().map(read).collect::<Result<Vec<_>, _>>()?;
    // What errors call a file is the folder and its name.
    let label = match single(root) {
        Some(_) => root.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new(".")),
        None => root,
    };
    Ok(ModelFiles::new(label.display().to_string(), files))
}

fn add(folder: &Path, below: &str, depth: usize, files: &mut Vec<Listed>) -> Result<(), PackageError> {
    let failed = |source| PackageError::Read { path: folder.to_owned(), source };
    let unusable = |problem: String| PackageError::Unusable { path: folder.to_owned(), problem };
    if depth > DEPTH_MAX {
        return Err(unusable(format!("nested deeper than {DEPTH_MAX} folders")));
    }
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let name = name.ok_or_else(|| unusable(format!("the file name {} is not UTF-8", path.display())))?;
        if depth == 0 && NO_PART_OF_A_MODEL.contains(&name) {
            continue;
        }
        let inside = if depth == 0 { name.to_owned() } else { format!("{below}/{name}") };
        if path.is_dir() {
            add(&path, &inside, depth + 1, files)?;
        } else {
            files.push((inside, path));
        }
        if files.len() > FILES_MAX {
            return Err(unusable(format!("more than {FILES_MAX} files; is this the model's folder?")));
        }
    }
    Ok(())
}

fn read(path: &Path) -> io::Result<Bytes> {
    let mut file = File::open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "neither a file nor a folder"));
    }
    if metadata.len() > MAPPED_ABOVE_BYTES {
        // SAFETY: a mapped file must not shrink while it is read. A model's folder is written before it is named to us,
        // and replaced as a whole, as the documentation asks; the registry's files are ours alone.
        let map = unsafe { memmap2::Mmap::map(&file)? };
        return Ok(crate::mapped::bytes(map));
    }
    let mut bytes = Vec::with_capacity(metadata.len() as usize);
    file.read_to_end(&mut bytes)?;
    Ok(bytes.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_of_other_things_is_no_model_by_the_names_of_its_files() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let refused = open_model(&folder).unwrap_err().to_string();
        assert!(refused.contains("no model found") && refused.contains("src"), "{refused}");
        assert!(open(&folder).is_ok_and(|files| files.get("folder.rs").is_some()));
        let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../small-talk");
        assert!(open_model(&model).is_ok_and(|files| files.get("config.json").is_some()));
    }
}
