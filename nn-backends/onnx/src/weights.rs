//! What files a graph's weights lie in, read from the graph without loading it.
//!
//! A graph may keep its weights in other files, named inside it. Reading the names here gives a clear error when one is
//! missing or lies outside the model's folder, an estimate of the memory the session will take, and the list of what
//! ONNX Runtime is to be handed: it opens no file itself. Only the fields on the way there are read
//! (`ModelProto.graph.initializer.external_data`); weights inside the file are skipped over.
//! Field numbers: <https://github.com/onnx/onnx/blob/main/onnx/onnx.proto>.

use std::collections::BTreeMap;

use bytes::Bytes;
use headland_nn_core::{ModelFiles, NnError};

const MODEL_GRAPH: u64 = 7;
const GRAPH_INITIALIZER: u64 = 5;
const TENSOR_EXTERNAL_DATA: u64 = 13;
const ENTRY_KEY: u64 = 1;
const ENTRY_VALUE: u64 = 2;

/// A file that holds weights of a graph.
pub(crate) struct ExternalFile {
    /// Its name as the graph has it.
    pub location: String,
    /// What is in it.
    pub bytes: Bytes,
    /// How much of it the graph uses, in bytes.
    pub used_bytes: u64,
}

/// The files that the weights of the graph `path` lie in, besides the graph itself.
///
/// A graph that cannot be read as protobuf has none: ONNX Runtime says more about it.
///
/// # Errors
/// [`NnError::BadModel`] when one is missing or outside the graph's folder.
pub(crate) fn external(model: &ModelFiles, path: &str) -> Result<Vec<ExternalFile>, NnError> {
    let bad = |cause: String| NnError::bad_model(format!("{}: {cause}", model.describe(path)));
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let locations = external_locations(model.require(path)?).unwrap_or_default();
    let file = |(location, used): (String, u64)| {
        let file = within(folder, &location)
            .ok_or_else(|| bad(format!("its weights file `{location}` lies outside the model's folder")))?;
        let bytes = model.get(&file).ok_or_else(|| bad(format!("its weights file `{location}` is missing")))?.clone();
        Ok(ExternalFile { location, used_bytes: used.min(bytes.len() as u64), bytes })
    };
    locations.into_iter().map(file).collect()
}

/// The path of `location` below `folder`; `None` when it leads out of it.
fn within(folder: &str, location: &str) -> Option<String> {
    let parts = location.split('/').filter(|part| !matches!(*part, "" | "."));
    if location.starts_with('/') || parts.clone().any(|part| part == "..") {
        return None;
    }
    Some([folder].into_iter().filter(|folder| !folder.is_empty()).chain(parts).collect::<Vec<_>>().join("/"))
}

/// The names of the external files, each with the number of bytes the graph uses of it; `None` for what is no protobuf.
fn external_locations(graph: &[u8]) -> Option<BTreeMap<String, u64>> {
    let mut files = BTreeMap::new();
    for model_field in Fields(graph) {
        let (number, graph) = model_field?;
        if number != MODEL_GRAPH {
            continue;
        }
        for graph_field in Fields(graph) {
            match graph_field? {
                (GRAPH_INITIALIZER, initializer) => add_location(initializer, &mut files)?,
                _ => continue,
            }
        }
    }
    Some(files)
}

/// One weight tensor: adds the file and the bytes it points at, if it points at one.
fn add_location(initializer: &[u8], files: &mut BTreeMap<String, u64>) -> Option<()> {
    let (mut location, mut length) = (None, u64::MAX);
    for field in Fields(initializer) {
        let (number, entry) = field?;
        if number == TENSOR_EXTERNAL_DATA {
            let (key, value) = key_and_value(entry)?;
            match key {
                "location" => location = Some(value),
                "length" => length = value.parse().unwrap_or(u64::MAX),
                _ => {}
            }
        }
    }
    if let Some(location) = location {
        let used = files.entry(location.to_owned()).or_insert(0u64);
        *used = used.saturating_add(length);
    }
    Some(())
}

fn key_and_value(entry: &[u8]) -> Option<(&str, &str)> {
    let (mut key, mut value) = ("", "");
    for field in Fields(entry) {
        let (number, text) = field?;
        match number {
            ENTRY_KEY => key = std::str::from_utf8(text).ok()?,
            ENTRY_VALUE => value = std::str::from_utf8(text).ok()?,
            _ => {}
        }
    }
    Some((key, value))
}

/// The length-delimited fields of a protobuf message, each with its number; `None` once, and last, where it is malformed.
struct Fields<'a>(&'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = Option<(u64, &'a [u8])>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.0.is_empty() {
            match self.field() {
                Some(None) => {}
                Some(Some(field)) => return Some(Some(field)),
                None => {
                    self.0 = &[];
                    return Some(None);
                }
            }
        }
        None
    }
}

impl<'a> Fields<'a> {
    /// The next field; `Some(None)` for one of another kind, which is skipped.
    fn field(&mut self) -> Option<Option<(u64, &'a [u8])>> {
        let key = self.varint()?;
        match key & 7 {
            0 => self.varint().map(|_| None),
            1 => self.take(8).map(|_| None),
            2 => {
                let length = self.varint()?;
                Some(Some((key >> 3, self.take(length)?)))
            }
            5 => self.take(4).map(|_| None),
            _ => None,
        }
    }

    fn take(&mut self, length: u64) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(usize::try_from(length).ok()?)?;
        self.0 = rest;
        Some(taken)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.0.split_first()?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_stays_within_the_graphs_folder() {
        assert_eq!(within("", "w.bin").unwrap(), "w.bin");
        assert_eq!(within("onnx", "./data/w.bin").unwrap(), "onnx/data/w.bin");
        for outside in ["../w.bin", "/etc/passwd", "a/../../w.bin", "a/.."] {
            assert_eq!(within("onnx", outside), None, "{outside}");
        }
    }

    #[test]
    fn what_is_no_protobuf_has_no_locations_and_no_panic() {
        for bytes in [&b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"[..], b"\x3a\xff", b"\x0f", b"\x3a\x02\x2a\x05"] {
            assert!(external_locations(bytes).is_none(), "{bytes:?}");
        }
        assert_eq!(external_locations(b"").unwrap().len(), 0);
    }
}
