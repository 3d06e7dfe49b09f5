//! A value that was let in, and why. Everything that stores as loadable, loads or runs takes a [`Verified`], so that the
//! compiler keeps unverified bytes out.

use std::fmt;

use headland_package::Sha256Digest;
use serde::Serialize;

use crate::Signer;
use crate::component::{self, BlobError};
use crate::policy::{Artifact, Residency};

/// A value that a [`Policy`](crate::Policy) admitted, or that the operator named, with the [`Evidence`] of it.
///
/// There is no other way to one: its fields are private, it has no constructor and no conversion, and it is read from no
/// format.
///
/// ```compile_fail
/// use headland_trust::{Evidence, Verified};
/// fn forge(evidence: Evidence) -> Verified<&'static [u8]> {
///     Verified { value: b"weights", evidence }
/// }
/// ```
///
/// ```compile_fail
/// use headland_trust::Verified;
/// let forged: Verified<Vec<u8>> = b"weights".to_vec().into();
/// ```
///
/// ```compile_fail
/// use headland_trust::Verified;
/// let forged: Verified<Vec<u8>> = Default::default();
/// ```
///
/// ```compile_fail
/// use headland_trust::Verified;
/// let forged: Verified<Vec<u8>> = serde_json::from_str("[]").unwrap();
/// ```
///
/// What the operator names by hand says so for as long as it lives:
///
/// ```
/// use headland_trust::Verified;
/// let named = Verified::named_by_operator(b"weights".to_vec(), "--model ./digits");
/// assert_eq!(named.evidence().to_string(), "named by the operator: --model ./digits");
/// ```
#[derive(Clone, Debug)]
pub struct Verified<T> {
    value: T,
    evidence: Evidence,
}

/// Why a value counts as verified.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Evidence {
    /// What it was admitted as; absent when the operator named it.
    pub artifact: Option<Artifact>,
    /// By what it was admitted.
    pub admission: Admission,
    /// Whose signature counted; absent when the operator named it, or a rule in mode `warn` let it in all the same.
    pub signer: Option<Signer>,
    /// What failed and was let pass by a rule in mode `warn`. To be said loudly wherever the value is used.
    pub warnings: Vec<String>,
    /// Where it may run.
    pub residency: Residency,
}

impl Evidence {
    /// Whether the value may run on this device, given as class (`cuda`) or as device (`cuda:1`).
    pub fn allows_device(&self, device: &str) -> bool {
        self.residency.allows_device(device)
    }

    /// Whether the value may run in this region.
    pub fn allows_region(&self, region: &str) -> bool {
        self.residency.allows_region(region)
    }
}

/// By what a value was admitted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Admission {
    /// A rule of a policy.
    Rule {
        /// The policy's file.
        policy: String,
        /// The rule's name.
        rule: String,
    },
    /// The operator, by hand.
    Operator {
        /// How: the option or command that named it.
        reason: String,
    },
}

impl fmt::Display for Admission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Admission::Rule { policy, rule } => write!(f, "rule `{rule}` of {policy}"),
            Admission::Operator { reason } => write!(f, "named by the operator: {reason}"),
        }
    }
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.admission, &self.signer) {
            (Admission::Operator { .. }, _) => self.admission.fmt(f),
            (admission, Some(signer)) => write!(f, "admitted by {admission}; signed by {signer}"),
            (admission, None) => {
                write!(f, "admitted by {admission} although {}", self.warnings.join("; "))
            }
        }
    }
}

impl<T> Verified<T> {
    /// What the policy admitted; see [`crate::policy`].
    pub(crate) fn admitted(value: T, evidence: Evidence) -> Self {
        Verified { value, evidence }
    }

    /// The one way past the policy: something local that the operator named, such as `--model DIR` where no policy file
    /// is given. Never to be used for what came over the network.
    pub fn named_by_operator(value: T, reason: impl Into<String>) -> Self {
        let evidence = Evidence {
            artifact: None,
            admission: Admission::Operator { reason: reason.into() },
            signer: None,
            warnings: Vec::new(),
            residency: Residency::default(),
        };
        Verified { value, evidence }
    }

    /// The value.
    pub fn get(&self) -> &T {
        &self.value
    }

    /// The value alone; the evidence ends here.
    pub fn into_inner(self) -> T {
        self.value
    }

    /// Why the value is here.
    pub fn evidence(&self) -> &Evidence {
        &self.evidence
    }

    /// Makes of the value what it already is in another form, such as a loaded model of its files; the evidence travels
    /// along. What `change` returns must come from the value and nothing else.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Verified<U> {
        Verified { value: change(self.value), evidence: self.evidence }
    }

    /// [`map`](Self::map) for what may fail.
    ///
    /// # Errors
    /// What `change` fails with.
    pub fn try_map<U, E>(self, change: impl FnOnce(T) -> Result<U, E>) -> Result<Verified<U>, E> {
        Ok(Verified { value: change(self.value)?, evidence: self.evidence })
    }
}

impl<M: AsRef<[u8]>> Verified<M> {
    /// Lets in a blob that this verified OCI manifest lists, by its digest: the signature covers the manifest, the
    /// manifest names the digest, the bytes hash to it.
    ///
    /// # Errors
    /// [`BlobError`], when the manifest does not list the digest, or the bytes are not what it lists.
    pub fn admit_blob<B: AsRef<[u8]>>(&self, digest: Sha256Digest, blob: B) -> Result<Verified<B>, BlobError> {
        component::check_blob(self.value.as_ref(), digest, blob.as_ref())?;
        Ok(Verified { value: blob, evidence: self.evidence.clone() })
    }
}
