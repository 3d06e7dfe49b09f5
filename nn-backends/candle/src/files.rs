//! Reading the small JSON files of a model folder, with errors that name file and cause.

use std::path::Path;
use std::{fs, io};

use headland_nn_core::NnError;
use serde::de::DeserializeOwned;

/// Reads the JSON file `path`.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, NnError> {
    read_json_if_there(path)?.ok_or_else(|| NnError::bad_model(format!("{}: there is no such file", path.display())))
}

/// Reads the JSON file `path`; `None` when it is not there.
pub(crate) fn read_json_if_there<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, NnError> {
    let bad = |cause: &dyn std::fmt::Display| NnError::bad_model(format!("{}: {cause}", path.display()));
    match fs::read(path) {
        Ok(json) => serde_json::from_slice(&json).map(Some).map_err(|error| bad(&error)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(bad(&error)),
    }
}
