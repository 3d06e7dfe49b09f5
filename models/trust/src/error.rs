//! Why a signature does not count: one sentence for people, naming the file, the digest or the signer.
//!
//! Every step of a verification answers with this error; the first thing that is wrong ends it.

use crate::authority::Method;
use crate::certificate::CertificateError;
use crate::contents::ContentsError;
use crate::plain::Plain;

/// Why a signature was refused.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The bundle is larger than any signature has reason to be.
    #[error("the signature is {bytes} bytes long; at most {max} are read")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// [`crate::bundle::BUNDLE_BYTES_MAX`].
        max: usize,
    },
    /// The bundle or its payload is not JSON, or not of the right shape.
    #[error("the {part} of the signature cannot be read")]
    Json {
        /// Which document: `bundle` or `statement`.
        part: &'static str,
        /// Where and why.
        #[source]
        source: serde_json::Error,
    },
    /// The bundle is of another kind or version.
    #[error("the signature's media type is `{}`; `{}` is expected", Plain(.0), crate::bundle::MEDIA_TYPE)]
    MediaType(String),
    /// JSON of the right shape that says something impossible.
    #[error("the signature is malformed: {}", Plain(.0))]
    Malformed(String),
    /// The envelope holds something other than an in-toto statement.
    #[error("the signed content is `{}`; `{}` is expected", Plain(.0), crate::dsse::PAYLOAD_TYPE)]
    PayloadType(String),
    /// The statement is about something else.
    #[error("the signature is a statement of type `{}`; `{expected}` is expected", Plain(found))]
    StatementType {
        /// The type expected.
        expected: &'static str,
        /// The type found.
        found: String,
    },
    /// The statement was made by a tool from before version 1.0 of the format.
    #[error("the signature is of a format from before Model Signing 1.0 (`{0}`); sign the model again")]
    OldFormat(String),
    /// The bundle is signed in a way the authority does not vouch for.
    #[error("the signature is made with {found}, and what is trusted here is {expected}")]
    Method {
        /// What the authority vouches for.
        expected: Method,
        /// What the bundle carries.
        found: Method,
    },
    /// The bundle names another key.
    #[error("signed with key {}; the trusted key is {trusted}", Plain(found))]
    OtherKey {
        /// The hint in the bundle.
        found: String,
        /// The hint of the trusted key.
        trusted: String,
    },
    /// The cryptography does not hold.
    #[error("the signature does not fit what it claims to sign ({0})")]
    Signature(String),
    /// The certificate or its chain does not count.
    #[error("the signing certificate does not count")]
    Certificate(#[from] CertificateError),
    /// The sigstore evidence (certificate, transparency log, time) does not hold.
    #[error("the keyless signature does not verify against the trusted root: {}", Plain(.0))]
    Keyless(String),
    /// A valid signature by somebody no rule names.
    #[error("signed by {}, whom no trusted identity matches", Plain(signer))]
    Identity {
        /// Who signed.
        signer: String,
    },
    /// A valid signature over another artifact.
    #[error("the signature is for {signed}, not for {expected}")]
    OtherArtifact {
        /// The digest that is signed.
        signed: String,
        /// The digest of what is judged.
        expected: String,
    },
    /// The statement's subject is not the digest of its resources.
    #[error("the signature contradicts itself: its files hash to {computed}, its subject says {signed}")]
    RootDigest {
        /// The subject's digest.
        signed: String,
        /// The digest computed over the resources.
        computed: String,
    },
    /// The way the files were serialised is not known here.
    #[error("the signature uses {what} `{}`, which is not known here; known are {known}", Plain(found))]
    Unknown {
        /// `serialization` or `hash`.
        what: &'static str,
        /// The name found.
        found: String,
        /// The names known.
        known: &'static str,
    },
    /// More resources than are read.
    #[error("the signature lists {found} resources; at most {max} are read")]
    TooMany {
        /// How many there are.
        found: usize,
        /// [`crate::oms::RESOURCES_MAX`].
        max: usize,
    },
    /// A name that could point outside the model, or that no file can have.
    #[error("the signature lists `{}`, which cannot be a file of a model: {why}", Plain(name))]
    Name {
        /// The name.
        name: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A name listed twice.
    #[error("the signature lists `{}` twice", Plain(.0))]
    Duplicate(String),
    /// A signed file that is not there.
    #[error("`{}` is signed, but missing from the model", Plain(.0))]
    Missing(String),
    /// A file that is there and not signed.
    #[error("`{}` is in the model, but not signed", Plain(.0))]
    Unsigned(String),
    /// A file that is not what was signed.
    #[error("`{}` is not the file that was signed: its {algorithm} is {found}, signed is {signed}", Plain(path))]
    Digest {
        /// The file, with `:start:end` where a piece of it is meant.
        path: String,
        /// The hash in use.
        algorithm: crate::HashAlgorithm,
        /// The digest that is signed, in hexadecimal.
        signed: String,
        /// The digest of what is there.
        found: String,
    },
    /// A file whose shards do not cover it.
    #[error("`{}` is not the file that was signed: {why}", Plain(path))]
    Shards {
        /// The file.
        path: String,
        /// Which piece is missing or too much.
        why: String,
    },
    /// A link in a model signed without links.
    #[error("`{}` is a symbolic link, and the signature does not allow links", Plain(.0))]
    Symlink(String),
    /// The model cannot be read.
    #[error("the model cannot be read")]
    Contents(#[from] ContentsError),
}

/// An error with its causes, on one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text += ": ";
        text += &cause.to_string();
        source = cause.source();
    }
    text
}
