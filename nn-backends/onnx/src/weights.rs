//! What files a graph's weights lie in, read from the graph without loading it.
//!
//! A graph may keep its weights in other files, named inside it. Reading the names here gives a clear error when one is
//! missing or lies outside the model's folder, and an estimate of the memory the session will take. Only the fields on
//! the way there are read (`ModelProto.graph.initializer.external_data`); weights inside the file are skipped over.
//! Field numbers: <https://github.com/onnx/onnx/blob/main/onnx/onnx.proto>.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Component, Path};

use headland_nn_core::NnError;

const MODEL_GRAPH: u64 = 7;
const GRAPH_INITIALIZER: u64 = 5;
const TENSOR_EXTERNAL_DATA: u64 = 13;
const ENTRY_KEY: u64 = 1;
const ENTRY_VALUE: u64 = 2;

/// The longest key or file name of an external tensor that is read.
const NAME_BYTES_MAX: u64 = 4096;

/// Checks that the files the graph's weights lie in are there, and returns the size of graph and weights in bytes.
///
/// A graph that cannot be read as protobuf passes: ONNX Runtime says more about it.
///
/// # Errors
/// [`NnError::BadModel`] when the graph cannot be opened, or a weights file is missing or outside the graph's folder.
pub(crate) fn check(graph: &Path) -> Result<u64, NnError> {
    let bad = |cause: String| NnError::bad_model(format!("{}: {cause}", graph.display()));
    let file = File::open(graph).map_err(|error| bad(error.to_string()))?;
    let graph_bytes = file.metadata().map_err(|error| bad(error.to_string()))?.len();
    let folder = graph.parent().unwrap_or(Path::new(""));
    let mut total = graph_bytes;
    for (location, used) in external_files(file, graph_bytes).unwrap_or_default() {
        if !Path::new(&location).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir)) {
            return Err(bad(format!("its weights file `{location}` lies outside the model's folder")));
        }
        let size = fs::metadata(folder.join(&location))
            .map_err(|error| bad(format!("its weights file `{location}` cannot be read: {error}")))?
            .len();
        total = total.saturating_add(used.min(size));
    }
    Ok(total)
}

/// The external files by name, each with the number of bytes the graph uses of it.
fn external_files(file: File, length: u64) -> io::Result<BTreeMap<String, u64>> {
    let mut files = BTreeMap::new();
    let mut reader = Reader { file: BufReader::new(file), position: 0 };
    reader.each_field(length, &mut |reader, number, end| match number {
        MODEL_GRAPH => reader.each_field(end, &mut |reader, number, end| match number {
            GRAPH_INITIALIZER => reader.initializer(end, &mut files),
            _ => Ok(()),
        }),
        _ => Ok(()),
    })?;
    Ok(files)
}

/// A protobuf file and how far into it we are.
struct Reader {
    file: BufReader<File>,
    position: u64,
}

impl Reader {
    /// Calls `visit` for every length-delimited field up to `end` with its number and its end, and skips what `visit`
    /// leaves of it.
    fn each_field(&mut self, end: u64, visit: &mut dyn FnMut(&mut Self, u64, u64) -> io::Result<()>) -> io::Result<()> {
        while self.position < end {
            let key = self.varint()?;
            match key & 7 {
                0 => drop(self.varint()?),
                1 => self.skip_to(self.position.saturating_add(8))?,
                2 => {
                    let length = self.varint()?;
                    let field_end = self.position.checked_add(length).filter(|&field_end| field_end <= end);
                    let field_end = field_end.ok_or_else(malformed)?;
                    visit(self, key >> 3, field_end)?;
                    self.skip_to(field_end)?;
                }
                5 => self.skip_to(self.position.saturating_add(4))?,
                _ => return Err(malformed()),
            }
        }
        Ok(())
    }

    /// One weight tensor: adds the file and the bytes it points at, if it points at one.
    fn initializer(&mut self, end: u64, files: &mut BTreeMap<String, u64>) -> io::Result<()> {
        let (mut location, mut length) = (None, u64::MAX);
        self.each_field(end, &mut |reader, number, end| {
            if number == TENSOR_EXTERNAL_DATA {
                let (key, value) = reader.entry(end)?;
                match key.as_str() {
                    "location" => location = Some(value),
                    "length" => length = value.parse().unwrap_or(u64::MAX),
                    _ => {}
                }
            }
            Ok(())
        })?;
        if let Some(location) = location {
            let used = files.entry(location).or_insert(0u64);
            *used = used.saturating_add(length);
        }
        Ok(())
    }

    fn entry(&mut self, end: u64) -> io::Result<(String, String)> {
        let (mut key, mut value) = (String::new(), String::new());
        self.each_field(end, &mut |reader, number, end| {
            match number {
                ENTRY_KEY => key = reader.string(end)?,
                ENTRY_VALUE => value = reader.string(end)?,
                _ => {}
            }
            Ok(())
        })?;
        Ok((key, value))
    }

    fn string(&mut self, end: u64) -> io::Result<String> {
        let length = end.checked_sub(self.position).filter(|&length| length <= NAME_BYTES_MAX).ok_or_else(malformed)?;
        let mut text = String::new();
        let read = self.file.by_ref().take(length).read_to_string(&mut text)?;
        self.position += read as u64;
        if read as u64 == length { Ok(text) } else { Err(malformed()) }
    }

    fn varint(&mut self) -> io::Result<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = *self.file.fill_buf()?.first().ok_or_else(malformed)?;
            self.file.consume(1);
            self.position += 1;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(malformed())
    }

    fn skip_to(&mut self, position: u64) -> io::Result<()> {
        let distance = position.checked_sub(self.position).and_then(|distance| i64::try_from(distance).ok());
        self.file.seek_relative(distance.ok_or_else(malformed)?)?;
        self.position = position;
        Ok(())
    }
}

fn malformed() -> io::Error {
    io::Error::from(io::ErrorKind::InvalidData)
}
