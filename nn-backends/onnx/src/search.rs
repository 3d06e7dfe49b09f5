//! Where the ONNX Runtime library is looked for. Pure: what the folders hold is an argument.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::OpenError;

/// Names the system's loader is asked for when no folder has the library.
const SYSTEM_NAMES: [&str; 2] = ["libonnxruntime.so", "libonnxruntime.so.1"];

/// The places to look for the ONNX Runtime library, most specific first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LibrarySearch {
    /// What `ORT_DYLIB_PATH` says: a file, or a bare name for the system's loader. Where it is set, nothing else counts.
    pub dylib_path: Option<PathBuf>,
    /// Headland's data directory; the library may lie in it or in its `lib` folder.
    pub data_dir: Option<PathBuf>,
    /// The folder of the running binary; the library may lie in it or in its `lib` folder.
    pub binary_dir: Option<PathBuf>,
}

/// What a search came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    /// This file, or nothing: it was asked for, or it lies where ours belongs.
    File(PathBuf),
    /// The first of these that the system's loader knows.
    System(&'static [&'static str]),
}

impl LibrarySearch {
    /// The search of this process: its `ORT_DYLIB_PATH`, its binary's folder, and `data_dir`.
    pub fn of_process(data_dir: Option<&Path>) -> Self {
        LibrarySearch {
            dylib_path: env::var_os("ORT_DYLIB_PATH").filter(|value| !value.is_empty()).map(PathBuf::from),
            data_dir: data_dir.map(Path::to_owned),
            binary_dir: env::current_exe().ok().and_then(|binary| binary.parent().map(Path::to_owned)),
        }
    }

    /// Chooses among what is there. `names` lists the file names of a folder, none if it cannot be read.
    pub(crate) fn choose(&self, names: impl Fn(&Path) -> Vec<String>) -> Result<Choice, OpenError> {
        if let Some(path) = &self.dylib_path {
            return asked_for(path, names);
        }
        for folder in self.folders() {
            if let Some(name) = best_name(names(&folder)) {
                return Ok(Choice::File(folder.join(name)));
            }
        }
        Ok(Choice::System(&SYSTEM_NAMES))
    }

    /// Every place a search in vain has looked at, for the error.
    pub(crate) fn places(&self) -> Vec<String> {
        let folders = self.folders().into_iter().map(|folder| folder.display().to_string());
        folders.chain(["the system's library path".to_owned()]).collect()
    }

    fn folders(&self) -> Vec<PathBuf> {
        let data = self.data_dir.iter().flat_map(|dir| [dir.join("lib"), dir.clone()]);
        let binary = self.binary_dir.iter().flat_map(|dir| [dir.clone(), dir.join("lib")]);
        data.chain(binary).collect()
    }
}

/// `ORT_DYLIB_PATH` must be right: running on another library than the one named would be a surprise.
fn asked_for(path: &Path, names: impl Fn(&Path) -> Vec<String>) -> Result<Choice, OpenError> {
    let folder = path.parent().unwrap_or(Path::new(""));
    if folder.as_os_str().is_empty() {
        return Ok(Choice::File(path.to_owned()));
    }
    let file = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
    if names(folder).iter().any(|name| name == file) {
        Ok(Choice::File(path.to_owned()))
    } else {
        Err(OpenError::NoSuchFile { path: path.to_owned() })
    }
}

/// The library among a folder's files: the unversioned name first, else the highest version.
fn best_name(names: Vec<String>) -> Option<String> {
    let plain = format!("{}onnxruntime{}", env::consts::DLL_PREFIX, env::consts::DLL_SUFFIX);
    let stem = format!("{}onnxruntime.", env::consts::DLL_PREFIX);
    names
        .into_iter()
        .filter(|name| name.starts_with(&stem) && name.contains(env::consts::DLL_SUFFIX))
        .max_by_key(|name| (*name == plain, version(name)))
}

/// The numbers in a file name, in order.
fn version(name: &str) -> Vec<u32> {
    name.split(|c: char| !c.is_ascii_digit()).filter_map(|part| part.parse().ok()).collect()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    fn everywhere() -> LibrarySearch {
        LibrarySearch { dylib_path: None, data_dir: Some("/data".into()), binary_dir: Some("/opt/bin".into()) }
    }

    /// A machine with these files.
    fn holding(files: &[&str]) -> impl Fn(&Path) -> Vec<String> {
        move |folder| {
            let inside = |file: &&&str| Path::new(file).parent() == Some(folder);
            files
                .iter()
                .filter(inside)
                .map(|f| Path::new(f).file_name().unwrap().to_str().unwrap().to_owned())
                .collect()
        }
    }

    #[track_caller]
    fn finds(search: &LibrarySearch, files: &[&str], expected: &str) {
        assert_eq!(search.choose(holding(files)).unwrap(), Choice::File(expected.into()));
    }

    #[test]
    fn the_variable_wins_over_every_folder() {
        let search = LibrarySearch { dylib_path: Some("/else/ort.so".into()), ..everywhere() };
        finds(&search, &["/data/lib/libonnxruntime.so", "/else/ort.so"], "/else/ort.so");
    }

    #[test]
    fn a_wrong_variable_is_an_error_though_a_folder_has_the_library() {
        let search = LibrarySearch { dylib_path: Some("/else/ort.so".into()), ..everywhere() };
        let error = search.choose(holding(&["/data/lib/libonnxruntime.so"])).unwrap_err();
        assert!(error.to_string().contains("ORT_DYLIB_PATH names /else/ort.so"), "{error}");
    }

    #[test]
    fn a_bare_name_in_the_variable_is_left_to_the_loader() {
        let search = LibrarySearch { dylib_path: Some("libonnxruntime-next.so".into()), ..everywhere() };
        finds(&search, &[], "libonnxruntime-next.so");
    }

    #[test]
    fn the_data_directory_comes_before_the_binary() {
        let both = ["/opt/bin/libonnxruntime.so", "/data/libonnxruntime.so"];
        finds(&everywhere(), &both, "/data/libonnxruntime.so");
        finds(&everywhere(), &[both[0], both[1], "/data/lib/libonnxruntime.so"], "/data/lib/libonnxruntime.so");
        finds(&everywhere(), &both[..1], "/opt/bin/libonnxruntime.so");
    }

    #[test]
    fn a_versioned_file_will_do_and_the_highest_wins() {
        let files = [
            "/data/lib/libonnxruntime.so.1.9.0",
            "/data/lib/libonnxruntime.so.1.31.1",
            "/data/lib/libonnxruntime_providers_shared.so",
        ];
        finds(&everywhere(), &files, "/data/lib/libonnxruntime.so.1.31.1");
    }

    #[test]
    fn an_empty_machine_leaves_it_to_the_system() {
        assert_eq!(everywhere().choose(holding(&[])).unwrap(), Choice::System(&SYSTEM_NAMES));
    }
}
