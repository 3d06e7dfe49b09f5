//! A model's folder on disk, or its one file, as [`ModelFiles`]: every file opened once, the large ones mapped.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use bytes::Bytes;
use headland_nn_core::ModelFiles;

use crate::PackageError;

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
    let mut files = Vec::new();
    match root.file_name().and_then(|name| name.to_str()) {
        Some(name) if name.ends_with(GGUF) && root.is_file() => {
            let bytes = read(root).map_err(|source| PackageError::Read { path: root.to_owned(), source })?;
            files.push((name.to_owned(), bytes));
        }
        _ => add(root, "", 0, &mut files)?,
    }
    Ok(ModelFiles::new(root.display().to_string(), files))
}

fn add(folder: &Path, below: &str, depth: usize, files: &mut Vec<(String, Bytes)>) -> Result<(), PackageError> {
    let failed = |path: &Path, source| PackageError::Read { path: path.to_owned(), source };
    let unusable = |problem: String| PackageError::Unusable { path: folder.to_owned(), problem };
    if depth > DEPTH_MAX {
        return Err(unusable(format!("nested deeper than {DEPTH_MAX} folders")));
    }
    for entry in std::fs::read_dir(folder).map_err(|source| failed(folder, source))? {
        let path = entry.map_err(|source| failed(folder, source))?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let name = name.ok_or_else(|| unusable(format!("the file name {} is not UTF-8", path.display())))?;
        if depth == 0 && NO_PART_OF_A_MODEL.contains(&name) {
            continue;
        }
        let inside = if depth == 0 { name.to_owned() } else { format!("{below}/{name}") };
        if path.is_dir() {
            add(&path, &inside, depth + 1, files)?;
        } else {
            files.push((inside, read(&path).map_err(|source| failed(&path, source))?));
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
