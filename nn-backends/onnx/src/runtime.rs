//! Opening the ONNX Runtime library: once per process, because its environment is global to the process.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use headland_nn_core::NnError;
use ort::LoadDynamicError;
use ort::environment::Environment;
use ort::logging::LogLevel;

use crate::LibrarySearch;
use crate::search::Choice;

/// The ONNX Runtime version this build was tested with, as the package index names it.
const TESTED_VERSION: &str = "1.31.1";

/// The opened library. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Runtime {
    pub(crate) path: PathBuf,
    pub(crate) environment: Environment,
}

/// The first library that was opened; it stays for the life of the process.
static OPENED: Mutex<Option<Runtime>> = Mutex::new(None);

/// Why ONNX Runtime is not there.
#[derive(Clone, Debug, thiserror::Error)]
pub enum OpenError {
    /// The variable names a file that does not exist.
    #[error("ORT_DYLIB_PATH names {path}, and there is no such file; correct it, or unset it to look elsewhere", path = path.display())]
    NoSuchFile {
        /// What the variable says.
        path: PathBuf,
    },
    /// No place has the library.
    #[error("ONNX Runtime (libonnxruntime.so) was not found; looked in {}. {}", places.join(", "), how_to_get_it())]
    NotFound {
        /// The places looked at.
        places: Vec<String>,
    },
    /// The file is no ONNX Runtime library, or one for another machine.
    #[error("{path} cannot be used as the ONNX Runtime library: {cause}. {}", how_to_get_it(), path = path.display())]
    Unusable {
        /// The library.
        path: PathBuf,
        /// What the loader says.
        cause: Arc<str>,
    },
    /// The library is older than the interface this build speaks.
    #[error("{path} is ONNX Runtime {found}, and at least 1.{minimum_minor} is needed. {}", how_to_get_it(), path = path.display())]
    TooOld {
        /// The library.
        path: PathBuf,
        /// Its version.
        found: String,
        /// The oldest usable minor version of ONNX Runtime 1.
        minimum_minor: u32,
    },
}

impl From<OpenError> for NnError {
    fn from(error: OpenError) -> Self {
        NnError::runtime(error)
    }
}

fn how_to_get_it() -> String {
    format!(
        "To get it: `pip download --no-deps onnxruntime=={TESTED_VERSION}` and `unzip -j onnxruntime-*.whl \
         'onnxruntime/capi/libonnxruntime.so.*' -d DATA_DIR/lib` (in a checkout, `scripts/fetch.sh` does this into \
         .cache/onnxruntime), or set ORT_DYLIB_PATH to a library you have"
    )
}

impl Runtime {
    /// Opens the library that `search` finds, or returns the one opened before.
    pub(crate) fn open(search: &LibrarySearch) -> Result<Runtime, OpenError> {
        let mut opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(runtime) = &*opened {
            return Ok(runtime.clone());
        }
        let runtime = match search.choose(file_names)? {
            Choice::File(path) => open_library(&path)?,
            Choice::System(names) => {
                open_system(names)?.ok_or_else(|| OpenError::NotFound { places: search.places() })?
            }
        };
        tracing::info!(path = %runtime.path.display(), "opened ONNX Runtime");
        Ok(opened.insert(runtime).clone())
    }
}

fn file_names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

/// `None` when the loader knows none of `names`; one that it knows must work.
fn open_system(names: &[&str]) -> Result<Option<Runtime>, OpenError> {
    for name in names {
        match ort::init_from(name) {
            Ok(builder) => return build(Path::new(name), builder).map(Some),
            Err(LoadDynamicError::Dlopen { .. }) => {}
            Err(error) => return Err(refusal(Path::new(name), error)),
        }
    }
    Ok(None)
}

fn open_library(path: &Path) -> Result<Runtime, OpenError> {
    // The library's folder counts from here, not from the binary's folder; a bare name is the loader's business.
    let full = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => std::path::absolute(path).unwrap_or_else(|_| path.to_owned()),
        _ => path.to_owned(),
    };
    let builder = ort::init_from(&full).map_err(|error| refusal(&full, error))?;
    build(&full, builder)
}

fn build(path: &Path, builder: ort::environment::EnvironmentBuilder) -> Result<Runtime, OpenError> {
    let unusable = |error: ort::Error| OpenError::Unusable { path: path.to_owned(), cause: error.message().into() };
    let environment = builder
        .with_name("headland")
        .with_telemetry(false)
        .with_logger(Arc::new(|level, _category, _id, _location, message| forward(level, message)))
        .build()
        .map_err(unusable)?;
    environment.set_log_level(LogLevel::Warning);
    Ok(Runtime { path: path.to_owned(), environment })
}

/// ONNX Runtime logs every failed run as an error; the caller gets the same text as a result, so here it only warns.
fn forward(level: LogLevel, message: &str) {
    match level {
        LogLevel::Fatal | LogLevel::Error => tracing::warn!(target: "onnxruntime", "{message}"),
        LogLevel::Warning => tracing::debug!(target: "onnxruntime", "{message}"),
        LogLevel::Info | LogLevel::Verbose => {}
    }
}

fn refusal(path: &Path, error: LoadDynamicError) -> OpenError {
    let path = path.to_owned();
    let unusable = |path, cause: String| OpenError::Unusable { path, cause: cause.into() };
    match error {
        LoadDynamicError::Dlopen { error, .. } => unusable(path, error.to_string()),
        LoadDynamicError::MissingApi { .. } => unusable(path, "it does not export OrtGetApiBase".to_owned()),
        LoadDynamicError::InvalidVersionString => unusable(path, "its version is not readable".to_owned()),
        LoadDynamicError::BadVersion { version_str, .. } => {
            OpenError::TooOld { path, found: version_str, minimum_minor: ort::MINOR_VERSION }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_in_vain_says_where_it_looked_and_how_to_get_the_library() {
        let search =
            LibrarySearch { dylib_path: None, data_dir: Some("/data".into()), binary_dir: Some("/bin".into()) };
        let message = OpenError::NotFound { places: search.places() }.to_string();
        for part in ["/data/lib, /data, /bin, /bin/lib, the system's library path", "pip download", "ORT_DYLIB_PATH"] {
            assert!(message.contains(part), "{message}");
        }
    }

    #[test]
    fn an_old_library_is_refused_with_both_versions() {
        let path = Path::new("/data/lib/libonnxruntime.so");
        let error = LoadDynamicError::BadVersion { version_str: "1.17.0".to_owned(), path: path.to_owned() };
        let message = refusal(path, error).to_string();
        assert!(
            message.starts_with("/data/lib/libonnxruntime.so is ONNX Runtime 1.17.0, and at least 1.24"),
            "{message}"
        );
    }

    #[test]
    fn a_file_that_is_no_library_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("libonnxruntime.so");
        fs::write(&file, "not a library").unwrap();
        let error = open_library(&file).map(|_| ()).unwrap_err();
        assert!(matches!(&error, OpenError::Unusable { path, .. } if *path == file), "{error}");
    }
}
