//! Paths out of manifests, which anyone may have written: only plain relative ones pass.

use std::collections::BTreeSet;

use super::{ArtifactError, LAYERS_MAX, PackedFile};

/// The longest path of a file.
pub const PATH_BYTES_MAX: usize = 1_024;
/// The deepest nesting of folders.
pub const PATH_DEPTH_MAX: usize = 16;
/// The longest name of one file or folder: what Linux file systems keep.
const SEGMENT_BYTES_MAX: usize = 255;

/// Why a path is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathProblem {
    /// Nothing there.
    #[error("is empty")]
    Empty,
    /// Too long as a whole or in one part.
    #[error("is too long: {PATH_BYTES_MAX} bytes in all and {SEGMENT_BYTES_MAX} in one part are accepted")]
    TooLong,
    /// Too many folders.
    #[error("is nested too deeply: {PATH_DEPTH_MAX} levels are accepted")]
    TooDeep,
    /// Begins with `/`.
    #[error("is absolute; write it relative to the model's or app's folder")]
    Absolute,
    /// Leads out of the folder, or has a `.` that says nothing.
    #[error("has a part `..` or `.`; a file must lie inside the model's or app's folder")]
    Dots,
    /// `a//b` or `a/`.
    #[error("has an empty part")]
    EmptyPart,
    /// A separator on another system.
    #[error("has a backslash; parts are separated by `/`")]
    Backslash,
    /// NUL, newline and the like.
    #[error("has a control character")]
    Control,
}

/// Whether `path` is a plain relative path that stays inside its folder on every system.
///
/// # Errors
/// The first [`PathProblem`] found.
pub fn check_path(path: &str) -> Result<(), PathProblem> {
    let parts = || path.split('/');
    if path.is_empty() {
        Err(PathProblem::Empty)
    } else if path.len() > PATH_BYTES_MAX || parts().any(|part| part.len() > SEGMENT_BYTES_MAX) {
        Err(PathProblem::TooLong)
    } else if path.starts_with('/') {
        Err(PathProblem::Absolute)
    } else if path.contains('\\') {
        Err(PathProblem::Backslash)
    } else if path.chars().any(char::is_control) {
        Err(PathProblem::Control)
    } else if parts().any(str::is_empty) {
        Err(PathProblem::EmptyPart)
    } else if parts().any(|part| part == "." || part == "..") {
        Err(PathProblem::Dots)
    } else if parts().count() > PATH_DEPTH_MAX {
        Err(PathProblem::TooDeep)
    } else {
        Ok(())
    }
}

/// Checks every path of a set, and that they can all exist beside each other.
pub(super) fn check_files(what: &'static str, files: &[PackedFile]) -> Result<(), ArtifactError> {
    if files.is_empty() {
        return Err(ArtifactError::NoFiles(what));
    }
    if files.len() > LAYERS_MAX {
        return Err(ArtifactError::TooManyFiles(files.len()));
    }
    let mut seen = BTreeSet::new();
    for PackedFile { path, .. } in files {
        check_path(path).map_err(|problem| ArtifactError::Path { path: shown(path), problem })?;
        if !seen.insert(path.as_str()) {
            return Err(ArtifactError::DuplicatePath(path.clone()));
        }
    }
    let folder_of_another = |path: &&str| path.match_indices('/').any(|(end, _)| seen.contains(&path[..end]));
    match seen.iter().find(|path| folder_of_another(path)) {
        Some(path) => Err(ArtifactError::DuplicatePath((*path).to_owned())),
        None => Ok(()),
    }
}

/// A foreign path as it may stand in a message: short, and without control characters.
fn shown(path: &str) -> String {
    const SHOWN_CHARS: usize = 80;
    path.escape_debug().take(SHOWN_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Sha256Digest;

    fn files(paths: &[&str]) -> Vec<PackedFile> {
        let file = |path: &&str| PackedFile { path: (*path).to_owned(), size: 1, digest: Sha256Digest::of(b"x") };
        paths.iter().map(file).collect()
    }

    #[test]
    fn plain_relative_paths_pass() {
        for path in ["model.onnx", "1_Pooling/config.json", "..data", "a/...", "Größe.txt", ".hidden", "a b"] {
            assert_eq!(check_path(path), Ok(()), "{path}");
        }
    }

    #[test]
    fn paths_that_could_lead_elsewhere_are_refused_each_for_its_reason() {
        for (path, problem) in [
            ("", PathProblem::Empty),
            ("../x", PathProblem::Dots),
            ("a/../../x", PathProblem::Dots),
            ("a/./b", PathProblem::Dots),
            (".", PathProblem::Dots),
            ("/etc/passwd", PathProblem::Absolute),
            ("//x", PathProblem::Absolute),
            ("a//b", PathProblem::EmptyPart),
            ("a/", PathProblem::EmptyPart),
            ("..\\x", PathProblem::Backslash),
            ("C:\\x", PathProblem::Backslash),
            ("a\0b", PathProblem::Control),
            ("a\nb", PathProblem::Control),
            (&"x".repeat(256), PathProblem::TooLong),
            (&"xx/".repeat(400), PathProblem::TooLong),
            (&["a"; 17].join("/"), PathProblem::TooDeep),
        ] {
            assert_eq!(check_path(path), Err(problem), "{path:?}");
        }
    }

    #[test]
    fn a_path_twice_or_both_file_and_folder_is_refused() {
        for paths in [["a", "a"], ["a", "a/b"], ["a/b/c", "a/b"]] {
            assert!(
                matches!(check_files("a model", &files(&paths)), Err(ArtifactError::DuplicatePath(_))),
                "{paths:?}"
            );
        }
        assert_eq!(check_files("a model", &files(&["a/b", "a/c", "a-b"])), Ok(()));
    }

    #[test]
    fn a_message_shows_a_foreign_path_escaped_and_short() {
        let error =
            check_files("a model", &files(&[&format!("\u{1b}[2J{}", "x".repeat(500))])).unwrap_err().to_string();
        assert!(error.contains("\\u{1b}[2J") && error.len() < 200, "{error}");
    }
}
