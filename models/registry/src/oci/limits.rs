//! What clients of the registry may use of it, each by name. Sizes of blobs are bounded by the store's quota.

use std::time::Duration;

/// Uploads whose bytes are received at one time; each holds a blocking thread. Further ones are told to come back.
pub const UPLOADS_RUNNING_MAX: usize = 32;
/// Manifests received and judged at one time; each may be 4 MiB, and several times that while it is read.
pub const MANIFESTS_RUNNING_MAX: usize = 8;
/// How long an upload may send nothing before its request ends. What has arrived stays, and can be continued.
pub const UPLOAD_IDLE_MAX: Duration = Duration::from_secs(60);
/// How long a manifest may take to arrive as a whole.
pub const MANIFEST_RECEIVE_MAX: Duration = Duration::from_secs(60);

/// How long a refused client's body is read on, so that the client gets to hear the answer.
pub(super) const LINGER_MAX: Duration = Duration::from_secs(3);
/// Pieces of an upload that wait for the disk; the client is not read from meanwhile.
pub(super) const PIECES_WAITING_MAX: usize = 4;
/// Bytes of a blob read from the disk at a time.
pub(super) const READ_BYTES: usize = 512 << 10;
/// Entries of one page of tags or repositories.
pub(super) const PAGE_ENTRIES_MAX: usize = 1_000;
/// Characters of a message in an error; foreign text in it may be long.
pub(super) const MESSAGE_CHARS_MAX: usize = 600;
/// Referrers of one page. Each may bring 64 KiB of annotations, and clients read indexes of 4 MiB.
pub(super) const REFERRERS_PAGE_MAX: usize = 50;
/// What a client that is turned away is told to wait.
pub(super) const RETRY_AFTER_S: &str = "1";

/// What an operator, or a test, may change.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Uploads whose bytes are received at one time.
    pub uploads_running_max: usize,
    /// Manifests received and judged at one time.
    pub manifests_running_max: usize,
    /// How long an upload may send nothing.
    pub upload_idle_max: Duration,
    /// How long a manifest may take to arrive.
    pub manifest_receive_max: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            uploads_running_max: UPLOADS_RUNNING_MAX,
            manifests_running_max: MANIFESTS_RUNNING_MAX,
            upload_idle_max: UPLOAD_IDLE_MAX,
            manifest_receive_max: MANIFEST_RECEIVE_MAX,
        }
    }
}
