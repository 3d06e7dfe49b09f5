//! What was deployed, remembered in a file: `state/apps.json` in the data directory.
//!
//! ```json
//! {"format": 1, "apps": {"search": [{"version": "1", "manifest": "sha256:...", "deployed_unix_s": 1700000000}]}}
//! ```
//!
//! The last of an app's deployments is the one in force. The file says what to deploy and is believed in nothing else: every
//! app is verified again before it serves.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use headland_package::{AppName, ModelVersion, Sha256Digest};
use serde::{Deserialize, Serialize};

/// The format that is written, and the one that is read.
pub const FORMAT: u32 = 1;
/// Deployments of one app that are remembered, the current one among them; the oldest are forgotten first.
pub const HISTORY_MAX: usize = 10;
/// The largest record that is read, in bytes: some ten thousand apps.
pub const RECORD_BYTES_MAX: u64 = 16 << 20;

/// A deployment of an app.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deployment {
    /// The version.
    pub version: ModelVersion,
    /// The manifest it was then: tags move.
    pub manifest: Sha256Digest,
    /// When, in seconds since 1970.
    pub deployed_unix_s: u64,
}

/// What was deployed, by app, the oldest deployment first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    apps: BTreeMap<AppName, Vec<Deployment>>,
}

/// A record that cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The operating system refused.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The record.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// It is not what was written.
    #[error("{} is no record of deployed apps: {problem}; move it away to start without the apps it names", path.display())]
    Damaged {
        /// The record.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A newer headland wrote it.
    #[error("{} has format {found}, and this headland reads {FORMAT}; use the headland that wrote it", path.display())]
    UnknownFormat {
        /// The record.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
}

#[derive(Deserialize)]
struct Header {
    format: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    format: u32,
    apps: BTreeMap<AppName, Vec<Deployment>>,
}

impl Record {
    /// What is deployed now.
    pub fn current(&self, name: &AppName) -> Option<&Deployment> {
        self.apps.get(name)?.last()
    }

    /// What was deployed before that.
    pub fn previous(&self, name: &AppName) -> Option<&Deployment> {
        self.apps.get(name)?.iter().nth_back(1)
    }

    /// Every app, by name, with what is deployed now.
    pub fn deployed(&self) -> impl Iterator<Item = (&AppName, &Deployment)> {
        self.apps.iter().filter_map(|(name, deployments)| Some((name, deployments.last()?)))
    }

    /// The record once `deployment` was made. Making it again is no deployment.
    #[must_use]
    pub fn with(&self, name: &AppName, deployment: Deployment) -> Record {
        let mut next = self.clone();
        let deployments = next.apps.entry(name.clone()).or_default();
        let same = |last: &Deployment| last.version == deployment.version && last.manifest == deployment.manifest;
        if !deployments.last().is_some_and(same) {
            deployments.push(deployment);
            deployments.drain(..deployments.len().saturating_sub(HISTORY_MAX));
        }
        next
    }

    /// The record without the app's last deployment.
    #[must_use]
    pub fn rolled_back(&self, name: &AppName) -> Record {
        let mut next = self.clone();
        if let Some(deployments) = next.apps.get_mut(name) {
            deployments.pop();
        }
        next
    }

    /// The record without the app.
    #[must_use]
    pub fn without(&self, name: &AppName) -> Record {
        let mut next = self.clone();
        next.apps.remove(name);
        next
    }

    /// Reads a record; one that is not there is empty.
    ///
    /// # Errors
    /// [`RecordError`], naming the file.
    pub fn read(path: &Path) -> Result<Self, RecordError> {
        let failed = |source| RecordError::Io { action: "read", path: path.to_owned(), source };
        let damaged = |problem: String| RecordError::Damaged { path: path.to_owned(), problem };
        let metadata = match fs::metadata(path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Record::default()),
            Err(error) => return Err(failed(error)),
        };
        if metadata.len() > RECORD_BYTES_MAX {
            return Err(damaged(format!("it has {} bytes, and {RECORD_BYTES_MAX} are the most", metadata.len())));
        }
        let bytes = fs::read(path).map_err(failed)?;
        let header: Header = serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
        if header.format != FORMAT {
            return Err(RecordError::UnknownFormat { path: path.to_owned(), found: header.format });
        }
        let Document { mut apps, .. } = serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
        apps.retain(|_, deployments| !deployments.is_empty());
        Ok(Record { apps })
    }

    /// Writes the record, so that a crash leaves the old or the new one.
    ///
    /// # Errors
    /// [`RecordError::Io`]; the old record is in place then.
    pub fn write(&self, path: &Path) -> Result<(), RecordError> {
        let write = || {
            let dir = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
            fs::create_dir_all(dir)?;
            let mut file = tempfile::NamedTempFile::new_in(dir)?;
            let document = Document { format: FORMAT, apps: self.apps.clone() };
            serde_json::to_writer(&mut file, &document)?;
            file.write_all(b"\n")?;
            file.as_file().sync_all()?;
            file.persist(path)?;
            File::open(dir)?.sync_all()
        };
        write().map_err(|source| RecordError::Io { action: "write", path: path.to_owned(), source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name() -> AppName {
        "search".parse().unwrap()
    }

    fn deployment(version: usize) -> Deployment {
        let manifest = Sha256Digest::of(&version.to_le_bytes());
        Deployment { version: version.to_string().parse().unwrap(), manifest, deployed_unix_s: 1 }
    }

    #[test]
    fn each_rollback_goes_one_deployment_back_and_history_is_bounded() {
        let record = (1..=12).fold(Record::default(), |record, version| record.with(&name(), deployment(version)));
        assert_eq!(record.with(&name(), Deployment { deployed_unix_s: 2, ..deployment(12) }), record);
        assert_eq!((record.current(&name()), record.previous(&name())), (Some(&deployment(12)), Some(&deployment(11))));
        let oldest = (1..HISTORY_MAX).fold(record, |record, _| record.rolled_back(&name()));
        assert_eq!((oldest.current(&name()), oldest.previous(&name())), (Some(&deployment(3)), None));
    }

    #[test]
    fn a_record_is_read_as_it_was_written_and_stays_readable() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state/apps.json");
        assert_eq!(Record::read(&path).unwrap(), Record::default());
        let record = Record::default().with(&name(), deployment(1)).with(&name(), deployment(2));
        record.write(&path).unwrap();
        assert_eq!(Record::read(&path).unwrap(), record);
        let digest = Sha256Digest::of(b"x");
        let format_1 = format!(
            r#"{{"format":1,"apps":{{"search":[{{"version":"2","manifest":"{digest}","deployed_unix_s":1700000000}}]}}}}"#
        );
        fs::write(&path, format_1).unwrap();
        let read = Record::read(&path).unwrap();
        assert_eq!(read.current(&name()).map(|it| (it.version.as_str(), it.manifest)), Some(("2", digest)));
    }

    #[test]
    fn what_is_no_record_is_refused_with_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("apps.json");
        for (text, expected) in [
            ("", "move it away to start without"),
            ("{\"format\":1,\"apps\":{}", "move it away to start without"),
            ("{\"format\":1,\"apps\":{\"../x\":[]}}", "move it away to start without"),
            ("{\"format\":1,\"apps\":{},\"more\":1}", "unknown field `more`"),
            ("{\"format\":2,\"apps\":[]}", "has format 2, and this headland reads 1"),
        ] {
            fs::write(&path, text).unwrap();
            let error = Record::read(&path).unwrap_err().to_string();
            assert!(error.contains(expected) && error.contains("apps.json"), "{text}: {error}");
        }
    }
}
