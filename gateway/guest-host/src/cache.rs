//! Components compiled ahead of time, kept on disk by digest and engine.
//!
//! An entry is machine code that will be run, so it is used only when its own digest, written beside it, fits, and
//! only out of a folder that nobody else can write. Anything corrupt, foreign or half-written is compiled again.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use headland_package::Sha256Digest;
use wasmtime::Engine;
use wasmtime::component::Component;

/// The largest component, in bytes.
pub const COMPONENT_BYTES_MAX: u64 = 256 << 20;

/// Entries the cache keeps; the oldest go first.
pub const ENTRIES_MAX: usize = 512;

/// Where an entry came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Cached,
    Compiled,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum CacheError {
    #[error("the compiled-component cache {path} cannot be used: {problem}")]
    Unsafe { path: PathBuf, problem: String },
    #[error("it is larger than 256 MiB, the most a component may be")]
    TooLarge,
    #[error("it is not a component this host can run: {0}")]
    Invalid(String),
}

pub(crate) struct Cache {
    dir: PathBuf,
}

impl Cache {
    /// Opens the cache folder, which is made readable and writable for this user alone.
    pub fn open(dir: &Path) -> Result<Self, CacheError> {
        let refuse = |problem: String| CacheError::Unsafe { path: dir.to_owned(), problem };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|error| refuse(error.to_string()))?;
        let metadata = fs::metadata(dir).map_err(|error| refuse(error.to_string()))?;
        if metadata.permissions().mode() & 0o022 != 0 {
            return Err(refuse(format!(
                "it holds machine code, and others may write to it (mode {:o}); run chmod 700 on it",
                metadata.mode() & 0o777
            )));
        }
        // The owner of a file made just now is who this process is.
        let own = tempfile::tempfile_in(dir).and_then(|file| file.metadata());
        if own.map_err(|error| refuse(error.to_string()))?.uid() != metadata.uid() {
            return Err(refuse("it holds machine code, and belongs to another user; choose another --data-dir".into()));
        }
        Ok(Cache { dir: dir.to_owned() })
    }

    /// The component that is `wasm`, compiled: out of the cache where a sound entry is there.
    pub fn load(&self, engine: &Engine, wasm: &[u8]) -> Result<(Component, Sha256Digest, Origin), CacheError> {
        if wasm.len() as u64 > COMPONENT_BYTES_MAX {
            return Err(CacheError::TooLarge);
        }
        let digest = Sha256Digest::of(wasm);
        let entry = self.entry(engine, &digest);
        if let Some(component) = entry.open(engine) {
            return Ok((component, digest, Origin::Cached));
        }
        let invalid = |error: wasmtime::Error| CacheError::Invalid(format!("{error:#}"));
        let component = Component::new(engine, wasm).map_err(invalid)?;
        let code = component.serialize().map_err(invalid)?;
        if let Err(error) = entry.write(&code) {
            tracing::warn!(path = %entry.code.display(), %error, "the compiled component could not be cached");
        }
        self.prune();
        Ok((component, digest, Origin::Compiled))
    }

    /// Removes the oldest entries beyond [`ENTRIES_MAX`]. What cannot be removed is tried again next time.
    fn prune(&self) {
        let Ok(files) = fs::read_dir(&self.dir) else { return };
        let mut entries: Vec<_> = files
            .filter_map(|file| {
                let path = file.ok()?.path();
                let modified = fs::metadata(&path).ok()?.modified().ok()?;
                path.extension().is_some_and(|e| e == "cwasm").then_some((modified, path))
            })
            .collect();
        entries.sort();
        for (_, code) in entries.iter().rev().skip(ENTRIES_MAX) {
            let _ = fs::remove_file(code.with_extension("blake3"));
            let _ = fs::remove_file(code);
        }
    }

    fn entry(&self, engine: &Engine, digest: &Sha256Digest) -> Entry {
        // Covers wasmtime's version, the target and every setting that changes the code.
        let mut hasher = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        let stem = format!("{}-{:016x}", digest.hex(), hasher.finish());
        Entry { code: self.dir.join(format!("{stem}.cwasm")), seal: self.dir.join(format!("{stem}.blake3")) }
    }
}

struct Entry {
    code: PathBuf,
    /// Holds the digest of `code`.
    seal: PathBuf,
}

impl Entry {
    fn open(&self, engine: &Engine) -> Option<Component> {
        let seal = fs::read_to_string(&self.seal).ok()?;
        let code = fs::File::open(&self.code).ok()?;
        // SAFETY: only this user can write to the folder, and `write` only ever replaces a file, whole.
        let mapped = unsafe { memmap2::Mmap::map(&code) };
        if !mapped.is_ok_and(|code| blake3::hash(&code).to_hex().as_str() == seal) {
            tracing::warn!(path = %self.code.display(), "a cached component is corrupt; compiling it again");
            return None;
        }
        // SAFETY: this file holds what `write` sealed: the output of `Component::serialize` of an engine of this version
        // and configuration (both are in the name, and wasmtime checks them again), in a folder that only this user can
        // write. It is mapped, not copied: the code is the page cache's.
        let component = unsafe { Component::deserialize_file(engine, &self.code) };
        component
            .inspect_err(|error| {
                tracing::warn!(path = %self.code.display(), %error, "a cached component does not fit; compiling it again");
            })
            .ok()
    }

    /// The seal goes last: until it is there, the entry does not count.
    fn write(&self, code: &[u8]) -> io::Result<()> {
        write_atomically(&self.code, code)?;
        write_atomically(&self.seal, blake3::hash(code).to_hex().as_bytes())
    }
}

fn write_atomically(path: &Path, contents: &[u8]) -> io::Result<()> {
    let dir = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let mut file = tempfile::NamedTempFile::new_in(dir)?;
    file.write_all(contents)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{GuestEngine, PoolOptions};

    /// The smallest component: the header alone.
    const EMPTY: &[u8] = b"\0asm\x0d\0\x01\0";

    fn sample() -> (tempfile::TempDir, Cache, GuestEngine) {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(&dir.path().join("cache")).unwrap();
        (dir, cache, GuestEngine::new(PoolOptions { instances_max: 4 }).unwrap())
    }

    fn cached_code(cache: &Cache) -> PathBuf {
        let mut entries = fs::read_dir(&cache.dir).unwrap().map(|entry| entry.unwrap().path());
        entries.find(|path| path.extension().is_some_and(|e| e == "cwasm")).unwrap()
    }

    #[test]
    fn the_second_load_comes_from_the_cache() {
        let (_dir, cache, engine) = sample();
        let origin = |_| cache.load(engine.engine(), EMPTY).unwrap().2;
        assert_eq!([0, 1].map(origin), [Origin::Compiled, Origin::Cached]);
    }

    #[test]
    fn a_corrupt_entry_is_compiled_again_and_mended() {
        let (_dir, cache, engine) = sample();
        cache.load(engine.engine(), EMPTY).unwrap();
        let code = cached_code(&cache);
        let mut bytes = fs::read(&code).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&code, bytes).unwrap();
        let origin = |_| cache.load(engine.engine(), EMPTY).unwrap().2;
        assert_eq!([0, 1].map(origin), [Origin::Compiled, Origin::Cached]);
    }

    #[test]
    fn a_sealed_entry_of_another_wasmtime_is_compiled_again() {
        let (_dir, cache, engine) = sample();
        let (_, digest, _) = cache.load(engine.engine(), EMPTY).unwrap();
        cache.entry(engine.engine(), &digest).write(b"code of some other engine").unwrap();
        assert_eq!(cache.load(engine.engine(), EMPTY).unwrap().2, Origin::Compiled);
    }

    #[test]
    fn a_folder_others_can_write_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let error = Cache::open(dir.path()).map(|_| ()).unwrap_err();
        assert!(error.to_string().contains("chmod 700"), "{error}");
    }

    #[test]
    fn what_is_no_component_is_refused() {
        let (_dir, cache, engine) = sample();
        let error = cache.load(engine.engine(), b"hello").map(|_| ()).unwrap_err();
        assert!(error.to_string().starts_with("it is not a component"), "{error}");
    }
}
