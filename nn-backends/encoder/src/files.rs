//! Reading the small JSON files of a model, with errors that name file and cause.

use headland_nn_core::{ModelFiles, NnError};
use serde::de::DeserializeOwned;

/// Reads the JSON file `path`.
pub(crate) fn read_json<T: DeserializeOwned>(files: &ModelFiles, path: &str) -> Result<T, NnError> {
    parse(files, path, files.require(path)?)
}

/// Reads the JSON file `path`; `None` when it is not there.
pub(crate) fn read_json_if_there<T: DeserializeOwned>(files: &ModelFiles, path: &str) -> Result<Option<T>, NnError> {
    files.get(path).map(|json| parse(files, path, json)).transpose()
}

fn parse<T: DeserializeOwned>(files: &ModelFiles, path: &str, json: &[u8]) -> Result<T, NnError> {
    serde_json::from_slice(json).map_err(|error| NnError::bad_model(format!("{}: {error}", files.describe(path))))
}
