//! TOML that is read strictly: an unknown key is an error with its line and the key that was probably meant.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

/// The largest configuration file read, in bytes.
pub const FILE_BYTES_MAX: u64 = 1 << 20;

/// A configuration file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TomlError {
    /// The file cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is larger than [`FILE_BYTES_MAX`].
    #[error("{path} is larger than 1 MiB, the most a configuration file may be")]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// The text is not what it should be: position, problem, suggestion.
    #[error("{file}:{line}:{column}: {problem}")]
    Invalid {
        /// The file, as the caller named it.
        file: String,
        /// Line, from 1.
        line: usize,
        /// Column in characters, from 1.
        column: usize,
        /// What is wrong and what to write.
        problem: String,
    },
}

/// Reads and parses `path`. `T` should be `deny_unknown_fields`.
///
/// # Errors
/// [`TomlError`], naming file and line.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<T, TomlError> {
    let read_error = |source| TomlError::Read { path: path.to_owned(), source };
    if std::fs::metadata(path).map_err(read_error)?.len() > FILE_BYTES_MAX {
        return Err(TomlError::TooLarge { path: path.to_owned() });
    }
    let text = std::fs::read_to_string(path).map_err(read_error)?;
    parse(&path.display().to_string(), &text)
}

/// Parses `text`, which came from `file`.
///
/// # Errors
/// [`TomlError::Invalid`].
pub fn parse<T: DeserializeOwned>(file: &str, text: &str) -> Result<T, TomlError> {
    toml::from_str(text).map_err(|error| {
        let offset = error.span().map_or(0, |span| span.start);
        let before = text.get(..offset).unwrap_or("");
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        TomlError::Invalid {
            file: file.to_owned(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            problem: with_suggestion(error.message()),
        }
    })
}

/// Turns serde's "unknown field `x`, expected one of `a`, `b`" into a message that names the likeliest key.
fn with_suggestion(message: &str) -> String {
    let Some(rest) = message.strip_prefix("unknown field `") else { return message.to_owned() };
    let mut quoted = rest.split('`');
    let unknown = quoted.next().unwrap_or_default();
    let known: Vec<&str> = quoted.skip(1).step_by(2).collect();
    let closest = known
        .iter()
        .map(|key| (strsim::damerau_levenshtein(unknown, key), *key))
        .min()
        .filter(|(distance, key)| *distance <= (key.len().max(unknown.len()) / 2).max(1));
    let keys = known.join("`, `");
    match closest {
        Some((_, key)) => format!("unknown key `{unknown}`; did you mean `{key}`? (the keys here are `{keys}`)"),
        None => format!("unknown key `{unknown}`; the keys here are `{keys}`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only the parser's errors are looked at")]
    struct Sample {
        memory: Option<String>,
        deadline_ms: Option<u64>,
    }

    #[test]
    fn an_unknown_key_is_named_with_line_and_suggestion() {
        let error = parse::<Sample>("app.toml", "deadline_ms = 5\nmemroy = \"1\"\n").unwrap_err();
        assert_eq!(
            error.to_string(),
            "app.toml:2:1: unknown key `memroy`; did you mean `memory`? (the keys here are `memory`, `deadline_ms`)"
        );
    }

    #[test]
    fn a_key_unlike_any_gets_the_list_alone() {
        let error = parse::<Sample>("app.toml", "gpu = true").unwrap_err();
        assert!(error.to_string().ends_with("unknown key `gpu`; the keys here are `memory`, `deadline_ms`"), "{error}");
    }

    #[test]
    fn a_wrong_type_says_where() {
        let error = parse::<Sample>("app.toml", "\n\ndeadline_ms = \"soon\"").unwrap_err();
        assert!(error.to_string().starts_with("app.toml:3:15: invalid type"), "{error}");
    }
}
