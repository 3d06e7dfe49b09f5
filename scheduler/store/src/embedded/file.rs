//! The database file: opening it with suspicion, reading, and one commit for each write. Everything here blocks.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use redb::{Database, DatabaseError, ReadableDatabase, ReadableTable, TableDefinition};

use crate::entry::{Entry, Revision};
use crate::error::StoreError;
use crate::key::{Key, Prefix};

/// Rendered key -> revision, value.
const RECORDS: TableDefinition<&str, (u64, &[u8])> = TableDefinition::new("headland-records");
/// What the file is about itself.
const ABOUT: TableDefinition<&str, u64> = TableDefinition::new("headland-about");
const FORMAT: &str = "format";
const LAST_REVISION: &str = "last-revision";
/// Changes with the tables above; a file of another format is refused.
const FORMAT_VERSION: u64 = 1;
/// Pages kept in memory, in bytes.
const CACHE_BYTES: usize = 16 * 1024 * 1024;

pub(super) struct File {
    database: Database,
    path: PathBuf,
}

/// One change that is asked for.
pub(super) enum Write {
    Create(Key, Bytes),
    Update(Key, Bytes, Revision),
    Delete(Key, Option<Revision>),
    /// Nothing but a new revision.
    Advance,
}

/// One change that happened.
#[derive(Clone)]
pub(super) enum Changed {
    Put(Entry),
    Deleted(Key, Revision),
}

impl File {
    pub fn open(path: PathBuf) -> Result<Self, StoreError> {
        if !path.try_exists().map_err(|error| io("look for", &path, error))? {
            make(&path)?;
        }
        let database = checked(&path)?;
        let file = Self { database, path };
        file.check_format()?;
        Ok(file)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn get(&self, key: &Key) -> Result<Option<Entry>, StoreError> {
        self.run("read", || {
            let records = self.database.begin_read()?.open_table(RECORDS)?;
            Ok(records.get(key.as_str())?.map(|found| entry(key.clone(), found.value())))
        })
    }

    /// The records under a prefix, and the last revision of the store at that instant.
    pub fn list(&self, prefix: &Prefix) -> Result<(Vec<Entry>, Revision), StoreError> {
        let common = prefix.common();
        let (found, revision) = self.run("read", || {
            let transaction = self.database.begin_read()?;
            let records = transaction.open_table(RECORDS)?;
            let mut found = Vec::new();
            for record in records.range(common.as_str()..)? {
                let (key, value) = record?;
                if !key.value().starts_with(&common) {
                    break;
                }
                let (revision, bytes) = value.value();
                found.push((key.value().to_owned(), Revision(revision), Bytes::copy_from_slice(bytes)));
            }
            let revision = last_revision(&transaction.open_table(ABOUT)?)?;
            Ok((found, revision))
        })?;
        let mut entries = Vec::with_capacity(found.len());
        for (rendered, revision, value) in found {
            let key: Key = rendered.parse().map_err(|error| self.unreadable(&error))?;
            if prefix.contains(&key) {
                entries.push(Entry { key, value, revision });
            }
        }
        Ok((entries, revision))
    }

    /// Decides and commits. What changes nothing commits nothing, and answers with the last revision.
    pub fn write(&self, write: Write) -> Result<(Revision, Option<Changed>), StoreError> {
        self.run("write", || {
            let transaction = self.database.begin_write()?;
            let (revision, changed) = {
                let mut records = transaction.open_table(RECORDS)?;
                let mut about = transaction.open_table(ABOUT)?;
                let last = last_revision(&about)?;
                let current = write.key().map(|key| records.get(key.as_str())).transpose()?.flatten();
                let current = current.map(|found| Revision(found.value().0));
                if let Err(refused) = write.check(current) {
                    return Ok(Err(refused));
                }
                if matches!(write, Write::Delete(..)) && current.is_none() {
                    return Ok(Ok((last, None)));
                }
                let revision = Revision(last.0 + 1);
                about.insert(LAST_REVISION, revision.0)?;
                let changed = match &write {
                    Write::Create(key, value) | Write::Update(key, value, _) => {
                        records.insert(key.as_str(), (revision.0, value.as_ref()))?;
                        Some(Changed::Put(Entry { key: key.clone(), value: value.clone(), revision }))
                    }
                    Write::Delete(key, _) => {
                        records.remove(key.as_str())?;
                        Some(Changed::Deleted(key.clone(), revision))
                    }
                    Write::Advance => None,
                };
                (revision, changed)
            };
            transaction.commit()?;
            Ok(Ok((revision, changed)))
        })?
    }

    fn check_format(&self) -> Result<(), StoreError> {
        let format = self.run("read", || {
            let transaction = self.database.begin_read()?;
            transaction.open_table(RECORDS)?;
            Ok(transaction.open_table(ABOUT)?.get(FORMAT)?.map(|found| found.value()))
        })?;
        match format {
            Some(FORMAT_VERSION) => Ok(()),
            Some(other) => Err(StoreError::Misconfigured {
                what: format!("{} is of format {other}, and this build reads {FORMAT_VERSION}", self.path.display()),
                remedy: "use the build that wrote it, or move it away to begin anew".into(),
            }),
            None => Err(self.unreadable(&"it names no format")),
        }
    }

    /// Runs a transaction, and turns what goes wrong in it into our errors.
    fn run<T>(&self, doing: &'static str, what: impl FnOnce() -> Result<T, redb::Error>) -> Result<T, StoreError> {
        what().map_err(|error| explain(doing, &self.path, error))
    }

    fn unreadable(&self, why: &dyn std::fmt::Display) -> StoreError {
        StoreError::Unreadable { path: self.path.clone(), why: why.to_string() }
    }
}

impl Write {
    fn key(&self) -> Option<&Key> {
        match self {
            Self::Create(key, _) | Self::Update(key, ..) | Self::Delete(key, _) => Some(key),
            Self::Advance => None,
        }
    }

    fn check(&self, current: Option<Revision>) -> Result<(), StoreError> {
        match (self, current) {
            (Self::Create(key, _), Some(current)) => Err(StoreError::Exists { key: key.clone(), current }),
            (Self::Update(key, _, seen) | Self::Delete(key, Some(seen)), current) if current != Some(*seen) => {
                Err(StoreError::Conflict { key: key.clone(), expected: *seen, current })
            }
            _ => Ok(()),
        }
    }
}

fn entry(key: Key, (revision, value): (u64, &[u8])) -> Entry {
    Entry { key, value: Bytes::copy_from_slice(value), revision: Revision(revision) }
}

fn last_revision(about: &impl ReadableTable<&'static str, u64>) -> Result<Revision, redb::Error> {
    Ok(Revision(about.get(LAST_REVISION)?.map_or(0, |found| found.value())))
}

/// Makes an empty store under another name first: a crash on the way leaves nothing under the right one.
fn make(path: &Path) -> Result<(), StoreError> {
    let unfinished = path.with_extension("new");
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(io("remove", &unfinished, error)),
        _ => {}
    }
    let fill = || -> Result<(), redb::Error> {
        let database = Database::create(&unfinished)?;
        let transaction = database.begin_write()?;
        transaction.open_table(RECORDS)?;
        transaction.open_table(ABOUT)?.insert(FORMAT, FORMAT_VERSION)?;
        transaction.commit()?;
        Ok(())
    };
    fill().map_err(|error| explain("make", &unfinished, error))?;
    fs::rename(&unfinished, path).map_err(|error| io("make", path, error))?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let synced = fs::File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(|error| io("sync the folder of", path, error))
}

/// Opens what is there and reads all of it against its checksums. On bytes that are no database of its own the library may
/// panic, which is an answer too.
fn checked(path: &Path) -> Result<Database, StoreError> {
    let open = || -> Result<Database, DatabaseError> {
        let mut database = Database::builder().set_cache_size(CACHE_BYTES).open(path)?;
        database.check_integrity()?;
        Ok(database)
    };
    match catch_unwind(AssertUnwindSafe(open)) {
        Ok(Ok(database)) => Ok(database),
        Ok(Err(error)) => Err(explain("open", path, error.into())),
        Err(_) => Err(StoreError::Unreadable { path: path.to_owned(), why: "its pages make no sense".into() }),
    }
}

fn explain(doing: &'static str, path: &Path, error: redb::Error) -> StoreError {
    use redb::Error;
    let path = path.to_owned();
    match error {
        Error::DatabaseAlreadyOpen => StoreError::InUse { path },
        Error::Corrupted(why) => StoreError::Unreadable { path, why },
        Error::UpgradeRequired(version) => {
            StoreError::Unreadable { path, why: format!("it has the file format {version}") }
        }
        Error::RepairAborted | Error::TableDoesNotExist(_) | Error::TableTypeMismatch { .. } => {
            StoreError::Unreadable { path, why: error.to_string() }
        }
        Error::Io(error) if error.kind() == std::io::ErrorKind::InvalidData => {
            StoreError::Unreadable { path, why: error.to_string() }
        }
        Error::Io(error) => io(doing, &path, error),
        other => StoreError::Io { doing, path, source: Arc::new(other) },
    }
}

fn io(doing: &'static str, path: &Path, error: std::io::Error) -> StoreError {
    StoreError::Io { doing, path: path.to_owned(), source: Arc::new(error) }
}
