//! Uploads that were begun and not finished: where the registry keeps them, so that the next command goes on with them.

use headland_package::Sha256Digest;

use super::state::State;

/// This user's unfinished uploads.
pub struct Sessions(State);

impl Sessions {
    /// Those of the user who runs this command.
    pub fn of_user() -> Self {
        let state = State::of_user("uploads");
        state.forget_old();
        Sessions(state)
    }

    /// Where the upload of this blob stands, if one was begun.
    pub fn get(&self, blobs_url: &str, blob: Sha256Digest) -> Option<String> {
        self.0.get(&key(blobs_url, blob)).filter(|location| !location.is_empty())
    }

    /// Remembers where the upload of this blob stands.
    pub fn set(&self, blobs_url: &str, blob: Sha256Digest, location: &str) {
        self.0.set(&key(blobs_url, blob), location);
    }

    /// Forgets it: it is done, or the registry knows it no more.
    pub fn remove(&self, blobs_url: &str, blob: Sha256Digest) {
        self.0.remove(&key(blobs_url, blob));
    }
}

fn key(blobs_url: &str, blob: Sha256Digest) -> String {
    Sha256Digest::of(format!("{blobs_url}\n{blob}").as_bytes()).hex()
}
