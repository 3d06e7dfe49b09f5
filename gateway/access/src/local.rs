//! The token for commands on the gateway's own machine: in a file that only the data directory's owner can read.

use std::path::{Path, PathBuf};

use crate::AccessError;
use crate::private_file;
use crate::scope::Scope;
use crate::secret::Secret;
use crate::store::TokenStore;
use crate::token::UnixTime;

/// The file below the data directory. Its one line is the token.
pub const LOCAL_FILE: &str = "admin.token";
/// What the token is called in the list and the log. No other token can have this name.
pub const LOCAL_NAME: &str = "local";
/// The largest such file, in bytes: a token with white space around it.
const FILE_BYTES_MAX: u64 = 128;

impl TokenStore {
    /// Sees to it that [`LOCAL_FILE`] holds a valid token with the scope `admin`, and returns its path. Blocks on the disk.
    ///
    /// A good one stays. One that others could have read, or that is lost or revoked, gives way to a new one, and what it
    /// may have let in is shut out: to change the token, remove the file and start the gateway again.
    ///
    /// # Errors
    /// When a file cannot be read or written, or there are too many tokens.
    pub fn ensure_local(&self) -> Result<PathBuf, AccessError> {
        let path = self.dir().join(LOCAL_FILE);
        let mut edit = self.edit()?;
        let is_good = |secret: Secret| {
            let hash = secret.hash();
            edit.tokens.iter().any(|token| token.info.name == LOCAL_NAME && bool::from(token.hash.matches(&hash)))
        };
        match private_file::read(&path, FILE_BYTES_MAX)? {
            Some(contents) if contents.mode & 0o077 == 0 && parse(&contents.bytes).is_some_and(is_good) => {
                return Ok(path);
            }
            Some(_) => tracing::warn!(path = %path.display(), "replacing a token file that is not, or no longer, good"),
            None => {}
        }
        edit.tokens.retain(|token| token.info.name != LOCAL_NAME);
        let created = edit.add(LOCAL_NAME, Scope::Admin.into(), UnixTime::now(), None)?;
        // In this order: a token without a file is replaced at the next start, a file without a token lets nobody in.
        edit.save()?;
        private_file::replace(&path, format!("{}\n", created.secret.reveal()).as_bytes(), &edit.lock)?;
        Ok(path)
    }
}

/// The token that a gateway with the data directory `dir` left for commands on its own machine, if there is one.
///
/// # Errors
/// When the file is there and cannot be read, or holds no token.
pub fn read_local(dir: &Path) -> Result<Option<Secret>, AccessError> {
    let path = dir.join(LOCAL_FILE);
    let Some(contents) = private_file::read(&path, FILE_BYTES_MAX)? else { return Ok(None) };
    parse(&contents.bytes).map(Some).ok_or(AccessError::NoLocalToken { path })
}

fn parse(bytes: &[u8]) -> Option<Secret> {
    std::str::from_utf8(bytes).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn the_local_token_is_made_once_and_found_by_commands() {
        let dir = tempfile::tempdir().unwrap();
        assert!(read_local(dir.path()).unwrap().is_none());
        let store = TokenStore::open(dir.path()).unwrap();
        let path = store.ensure_local().unwrap();
        assert_eq!((path.clone(), mode(&path)), (dir.path().join("admin.token"), 0o600));
        let secret = read_local(dir.path()).unwrap().unwrap();
        let grant = store.check(&secret, UnixTime::now()).unwrap();
        assert!(grant.allows(Scope::Admin) && grant.token().name == "local");

        // Another start.
        let store = TokenStore::open(dir.path()).unwrap();
        store.ensure_local().unwrap();
        assert_eq!(read_local(dir.path()).unwrap().unwrap().reveal(), secret.reveal());
        assert_eq!(store.list().len(), 1);
    }

    #[test]
    fn a_local_token_that_is_not_good_gives_way_and_is_shut_out() {
        let dir = tempfile::tempdir().unwrap();
        let store = TokenStore::open(dir.path()).unwrap();
        let ci = store.create("ci", Scope::Read.into(), None).unwrap();
        let path = store.ensure_local().unwrap();
        let spoilers: [fn(&Path, &TokenStore); 5] = [
            |path, _| fs::remove_file(path).unwrap(),
            |path, _| fs::set_permissions(path, Permissions::from_mode(0o640)).unwrap(),
            |path, _| fs::write(path, "hl_x").unwrap(),
            |path, _| fs::write(path, " ".repeat(4096)).unwrap(),
            |_, store| drop(store.revoke(&store.list()[1].id).unwrap()),
        ];
        for spoil in spoilers {
            let before = read_local(dir.path()).unwrap().unwrap();
            spoil(&path, &store);
            store.ensure_local().unwrap();
            let after = read_local(dir.path()).unwrap().unwrap();
            assert!(store.check(&before, UnixTime::now()).is_err());
            assert!(store.check(&after, UnixTime::now()).is_ok());
            assert_eq!((store.list().len(), mode(&path)), (2, 0o600));
        }
        // Nor is another token taken for it.
        fs::write(&path, ci.secret.reveal()).unwrap();
        store.ensure_local().unwrap();
        assert_ne!(read_local(dir.path()).unwrap().unwrap().reveal(), ci.secret.reveal());
        assert!(store.check(&ci.secret, UnixTime::now()).is_ok());
    }

    #[test]
    fn a_command_that_finds_a_spoilt_file_says_so() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(LOCAL_FILE), "hl_secretbutbroken").unwrap();
        let error = read_local(dir.path()).unwrap_err().to_string();
        assert!(error.contains("admin.token holds no token; start the gateway again"), "{error}");
        assert!(!error.contains("secretbutbroken"));
    }
}
