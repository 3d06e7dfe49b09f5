//! Where commands keep what they remember between runs.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// How long something is remembered that nobody asks for.
const KEPT: Duration = Duration::from_secs(30 * 24 * 3600);

/// A folder of small remembered things. All of them may be lost: then work is done again.
pub struct State(Option<PathBuf>);

impl State {
    /// The folder `name` of this user's state (`XDG_STATE_HOME`, or `~/.local/state`).
    pub fn of_user(name: &str) -> Self {
        let set = |variable| std::env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from);
        let root = set("XDG_STATE_HOME").or_else(|| Some(set("HOME")?.join(".local/state")));
        State(root.map(|root| root.join("headland").join(name)))
    }

    #[cfg(test)]
    pub fn in_folder(folder: &Path) -> Self {
        State(Some(folder.to_owned()))
    }

    /// What was remembered under `key`, a file name.
    pub fn get(&self, key: &str) -> Option<String> {
        fs::read_to_string(self.0.as_ref()?.join(key)).ok()
    }

    /// Remembers `value` for this user alone. Where that does not work, nothing is remembered.
    pub fn set(&self, key: &str, value: &str) {
        if let Some(folder) = &self.0 {
            // What is remembered saves work, and is never needed.
            let _ = write(folder, key, value);
        }
    }

    /// Forgets what was remembered.
    pub fn remove(&self, key: &str) {
        if let Some(folder) = &self.0 {
            let _ = fs::remove_file(folder.join(key));
        }
    }

    /// Forgets what nobody has asked for in a long time.
    pub fn forget_old(&self) {
        let Some(entries) = self.0.as_ref().and_then(|folder| fs::read_dir(folder).ok()) else { return };
        let now = SystemTime::now();
        for entry in entries.flatten() {
            let modified = entry.metadata().and_then(|metadata| metadata.modified());
            let age = modified.ok().and_then(|modified| now.duration_since(modified).ok());
            if age.is_some_and(|age| age > KEPT) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

/// Whole or not at all: another command may read it meanwhile.
fn write(folder: &Path, key: &str, value: &str) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let unfinished = folder.join(format!("{key}.{}", std::process::id()));
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
    file.write_all(value.as_bytes())?;
    fs::rename(unfinished, folder.join(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_is_there_until_it_is_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::in_folder(&dir.path().join("uploads"));
        assert_eq!(state.get("a"), None);
        state.set("a", "1");
        state.set("a", "2");
        state.forget_old();
        assert_eq!(state.get("a").as_deref(), Some("2"));
        let old = fs::File::open(dir.path().join("uploads/a")).unwrap();
        old.set_modified(SystemTime::now() - 2 * KEPT).unwrap();
        state.forget_old();
        assert_eq!(state.get("a"), None);
        state.remove("a");
        State(None).set("a", "1");
    }
}
