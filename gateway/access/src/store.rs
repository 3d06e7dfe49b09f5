//! The tokens there are: read from `tokens.json`, changed through it, and read again when another process changes it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, TryLockError};
use std::time::{Duration, Instant};

use crate::AccessError;
use crate::guard::Grant;
use crate::local::LOCAL_NAME;
use crate::private_file::{self, Lock, Stamp};
use crate::scope::Scopes;
use crate::secret::{Secret, hex, random};
use crate::token::{TokenInfo, UnixTime, check_name};
use crate::token_file::{self, FILE_BYTES_MAX, TOKENS_MAX, Token};

/// The file below the data directory.
pub const TOKENS_FILE: &str = "tokens.json";
/// Tokens there may be, expired ones among them.
pub const CREATED_MAX: usize = TOKENS_MAX;
/// How often the file is looked at, at most, for what other processes did to it.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The tokens of one data directory. Clones share them.
#[derive(Clone)]
pub struct TokenStore(Arc<Inner>);

struct Inner {
    dir: PathBuf,
    file: PathBuf,
    tokens: RwLock<Arc<[Token]>>,
    /// Held while the file is read or changed, so that no older state follows a newer one into `tokens`.
    looked: Mutex<Looked>,
}

/// When the file was last looked at, and what state it had.
struct Looked {
    at: Instant,
    stamp: Option<Stamp>,
}

/// A new token, and the only sight of its secret.
#[derive(Debug)]
pub struct Created {
    /// What is kept.
    pub info: TokenInfo,
    /// What its holder must keep.
    pub secret: Secret,
}

/// Why a well-formed token is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// No such token, or none any more.
    #[error("the token is not known here: it was revoked, or made for another gateway")]
    Unknown,
    /// Its time is over. Only who holds the token learns this.
    #[error("the token `{name}` has expired; make a new one with `headland token create`")]
    Expired {
        /// What people call it.
        name: String,
    },
}

impl TokenStore {
    /// Reads the tokens below the data directory `dir`; there are none if there is no file.
    ///
    /// # Errors
    /// When the file cannot be read, is not sound, or may be written by others.
    pub fn open(dir: &Path) -> Result<Self, AccessError> {
        let file = dir.join(TOKENS_FILE);
        let (tokens, stamp) = load(&file)?;
        let looked = Mutex::new(Looked { at: Instant::now(), stamp });
        Ok(TokenStore(Arc::new(Inner { dir: dir.to_owned(), file, tokens: RwLock::new(tokens.into()), looked })))
    }

    /// Makes a token. Blocks on the disk.
    ///
    /// # Errors
    /// When name or expiry make no sense, there are too many tokens, or the file cannot be read or written. Then there is
    /// no new token.
    pub fn create(&self, name: &str, scopes: Scopes, expires: Option<UnixTime>) -> Result<Created, AccessError> {
        check_name(name)?;
        if name == LOCAL_NAME {
            return Err(AccessError::ReservedName(LOCAL_NAME));
        }
        let now = UnixTime::now();
        if expires.is_some_and(|expires| expires <= now) {
            return Err(AccessError::ExpiresInThePast);
        }
        let mut edit = self.edit()?;
        let created = edit.add(name, scopes, now, expires)?;
        edit.save()?;
        Ok(created)
    }

    /// Takes the token `id` away: from here on it is refused, in other processes within a second. Blocks on the disk.
    ///
    /// # Errors
    /// When there is none, or the file cannot be read or written.
    pub fn revoke(&self, id: &str) -> Result<TokenInfo, AccessError> {
        let mut edit = self.edit()?;
        let position = edit.tokens.iter().position(|token| token.info.id == id);
        let position = position
            .ok_or_else(|| AccessError::NoSuchToken(id.escape_debug().to_string().chars().take(40).collect()))?;
        let revoked = edit.tokens.remove(position);
        edit.save()?;
        Ok((*revoked.info).clone())
    }

    /// All tokens, oldest first, without their secrets.
    pub fn list(&self) -> Vec<TokenInfo> {
        self.notice_changes();
        self.tokens().iter().map(|token| (*token.info).clone()).collect()
    }

    /// What the holder of `secret` may do at `now`. Compares with every token there is, each in constant time.
    ///
    /// Once a second this asks the system for the file's state, and reads the file if that is new.
    ///
    /// # Errors
    /// [`Rejected`].
    pub fn check(&self, secret: &Secret, now: UnixTime) -> Result<Grant, Rejected> {
        self.notice_changes();
        let hash = secret.hash();
        let mut held = None;
        for token in self.tokens().iter() {
            if bool::from(token.hash.matches(&hash)) {
                held = Some(token.info.clone());
            }
        }
        match held {
            None => Err(Rejected::Unknown),
            Some(info) if info.has_expired(now) => Err(Rejected::Expired { name: info.name.clone() }),
            Some(info) => Ok(Grant::new(info)),
        }
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.0.dir
    }

    fn tokens(&self) -> Arc<[Token]> {
        self.0.tokens.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_tokens(&self, tokens: Vec<Token>) {
        *self.0.tokens.write().unwrap_or_else(PoisonError::into_inner) = tokens.into();
    }

    /// Reads the file again if it has changed and was not looked at for a second.
    ///
    /// A file that has become unusable changes nothing: the tokens that were good stay good, and the log says why.
    fn notice_changes(&self) {
        let mut looked = match self.0.looked.try_lock() {
            Ok(looked) => looked,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            // Somebody is at it.
            Err(TryLockError::WouldBlock) => return,
        };
        if looked.at.elapsed() < LOOK_EVERY {
            return;
        }
        looked.at = Instant::now();
        let stamp = Stamp::at(&self.0.file);
        if stamp == looked.stamp {
            return;
        }
        // Kept even if the file turns out to be unusable, so that the log says it once for each change.
        looked.stamp = stamp;
        match load(&self.0.file) {
            Ok((tokens, stamp)) => {
                tracing::info!(target: "headland::audit", tokens = tokens.len(), "the token file has changed");
                looked.stamp = stamp;
                self.set_tokens(tokens);
            }
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                tracing::error!(error, "the token file has changed and cannot be used; the tokens stay as they were");
            }
        }
    }

    /// Begins a change, on what is in the file now. Waits for other processes to end theirs.
    pub(crate) fn edit(&self) -> Result<Edit<'_>, AccessError> {
        let looked = self.0.looked.lock().unwrap_or_else(PoisonError::into_inner);
        let lock = Lock::take(&self.0.dir)?;
        let (tokens, _) = load(&self.0.file)?;
        Ok(Edit { store: self, looked, lock, tokens })
    }
}

impl std::fmt::Debug for TokenStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenStore").field("file", &self.0.file).finish_non_exhaustive()
    }
}

fn load(file: &Path) -> Result<(Vec<Token>, Option<Stamp>), AccessError> {
    let Some(contents) = private_file::read(file, FILE_BYTES_MAX)? else { return Ok((Vec::new(), None)) };
    if contents.mode & 0o022 != 0 {
        return Err(AccessError::Exposed { path: file.to_owned(), mode: contents.mode });
    }
    let tokens =
        token_file::parse(&contents.bytes).map_err(|problem| AccessError::Broken { path: file.to_owned(), problem })?;
    Ok((tokens, Some(contents.stamp)))
}

/// A change in the making. Nobody else changes anything until it is dropped, and nothing has changed unless it was saved.
pub(crate) struct Edit<'a> {
    store: &'a TokenStore,
    looked: MutexGuard<'a, Looked>,
    pub lock: Lock,
    pub tokens: Vec<Token>,
}

impl Edit<'_> {
    /// Adds a token of any name.
    pub fn add(
        &mut self,
        name: &str,
        scopes: Scopes,
        now: UnixTime,
        expires: Option<UnixTime>,
    ) -> Result<Created, AccessError> {
        if self.tokens.len() >= TOKENS_MAX {
            return Err(AccessError::Full { max: TOKENS_MAX });
        }
        let id = loop {
            let id = hex(&random::<6>()?);
            if self.tokens.iter().all(|token| token.info.id != id) {
                break id;
            }
        };
        let secret = Secret::generate()?;
        let info = TokenInfo {
            id,
            name: name.to_owned(),
            scopes,
            created_unix_s: now,
            expires_unix_s: expires,
            ends_with: secret.ending().to_owned(),
        };
        self.tokens.push(Token { info: Arc::new(info.clone()), hash: secret.hash() });
        Ok(Created { info, secret })
    }

    /// Makes the change: on disk, then here.
    pub fn save(&mut self) -> Result<(), AccessError> {
        let file = &self.store.0.file;
        private_file::replace(file, &token_file::write(&self.tokens), &self.lock)?;
        self.looked.stamp = Stamp::at(file);
        self.store.set_tokens(self.tokens.clone());
        Ok(())
    }
}

#[cfg(test)]
mod tests;
