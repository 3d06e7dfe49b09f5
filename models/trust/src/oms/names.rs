//! Names of files in a signature: which can be files of a model, and which are overlooked.

/// The longest name, in bytes; what Linux allows a path.
const NAME_BYTES_MAX: usize = 4096;

/// Why `name` cannot be a file inside a model.
pub(super) fn check(name: &str) -> Result<(), &'static str> {
    if name.is_empty() {
        Err("it is empty")
    } else if name.len() > NAME_BYTES_MAX {
        Err("it is too long")
    } else if name.contains(['\0', '\\']) {
        Err("it contains a NUL or a backslash")
    } else if name.starts_with('/') {
        Err("it is absolute")
    } else if name == crate::contents::SINGLE_FILE {
        Ok(())
    } else {
        check_parts(name)
    }
}

fn check_parts(name: &str) -> Result<(), &'static str> {
    for part in name.split('/') {
        match part {
            ".." => return Err("it leads out of the model"),
            "" | "." => return Err("it is not in its simplest form"),
            _ => {}
        }
    }
    Ok(())
}

/// Whether `path` is one of `ignored`, or inside one of them. Entries that lead out of the model, or mean all of it,
/// mean nothing.
pub(super) fn is_ignored<'a>(path: &str, ignored: impl IntoIterator<Item = &'a str>) -> bool {
    ignored.into_iter().any(|entry| {
        let entry = entry.trim_start_matches("./").trim_end_matches('/');
        let inside = path.strip_prefix(entry).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        inside && check_parts(entry).is_ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stays_inside_the_model() {
        for name in ["a", "a/b.c", ".", "..a", "a..", "a b", "é"] {
            assert_eq!(check(name), Ok(()), "{name}");
        }
        for name in ["", "/a", "..", "../a", "a/../b", "a//b", "a/", "./a", "a\\b", "a\0", "a/.."] {
            assert!(check(name).is_err(), "{name}");
        }
        assert!(check(&"a".repeat(NAME_BYTES_MAX + 1)).is_err());
    }

    #[test]
    fn an_ignored_folder_stands_for_what_is_in_it_and_nothing_else() {
        let ignored = ["cache", "./model.sig", "a/b/"];
        for path in ["cache", "cache/x", "cache/x/y", "model.sig", "a/b", "a/b/c"] {
            assert!(is_ignored(path, ignored), "{path}");
        }
        for path in ["cached", "sub/cache", "a", "a/bc", "model.sig2"] {
            assert!(!is_ignored(path, ignored), "{path}");
        }
    }

    #[test]
    fn entries_that_would_ignore_everything_ignore_nothing() {
        for entry in ["", ".", "/", "..", "../model", "./", "//"] {
            assert!(!is_ignored("weights", [entry]), "{entry}");
        }
    }
}
