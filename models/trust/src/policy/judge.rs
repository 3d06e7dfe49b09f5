//! Judging: a rule is found, each signature is held against each of its authorities, and the outcome is written down.
//!
//! The same bytes that are judged come back as [`Verified`]; what a signature leaves out does not come back.

use std::collections::BTreeMap;
use std::time::SystemTime;

use headland_package::oci::ANNOTATION_VERSION;
use headland_package::{FileBytes, Sha256Digest};
use serde::Serialize;

use super::Policy;
use super::artifact::{Artifact, MODEL_MANIFEST, Stated};
use super::decision::{Attempt, Decision, Denied, RuleRef, Verdict};
use super::rule::{Mode, NamedAuthority, Residency, Rule};
use crate::contents::{Files, Listing};
use crate::oms::{self, VerifyOptions};
use crate::verified::{Evidence, Verified};
use crate::{Authority, Contents, Signer, VerifyError, component};

/// The most signatures of one artifact that are looked at. More are somebody's mistake, or meant to keep the gateway
/// busy.
pub const SIGNATURES_MAX: usize = 16;

/// A signature that counts under some authority.
struct Counted {
    signer: Signer,
    left_out: Vec<String>,
    complete: bool,
}

/// What a package states of itself, or why that cannot be read; `None` before its content is there.
type StatedFound = Option<Result<Stated, String>>;

/// An early judgement: what can be said before the content is there.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Judgement {
    /// By what it would be admitted.
    pub evidence: Evidence,
    /// Whether the listing said enough to compare every file. The content is judged again when it is there, either way.
    pub complete: bool,
}

impl Judgement {
    /// Whether it may run on this device, given as class (`cuda`) or as device (`cuda:1`).
    pub fn allows_device(&self, device: &str) -> bool {
        self.evidence.allows_device(device)
    }

    /// Whether it may run in this region.
    pub fn allows_region(&self, region: &str) -> bool {
        self.evidence.allows_region(region)
    }
}

impl Policy {
    /// Admits a model's files, or refuses them. What comes back holds the signed files alone: whatever a signature
    /// passes over (`ignore_paths`) is left out.
    ///
    /// # Errors
    /// [`Denied`], naming the rule, and each authority with why it does not count.
    pub fn verify_model<B: FileBytes>(
        &self,
        artifact: &Artifact,
        mut files: BTreeMap<String, B>,
        signatures: &[impl AsRef<[u8]>],
        now: SystemTime,
    ) -> Result<Verified<BTreeMap<String, B>>, Denied> {
        let decision = self.test_model(artifact, &files, signatures, now);
        for path in &decision.left_out {
            files.remove(path);
        }
        Ok(Verified::admitted(files, decision.into_evidence()?))
    }

    /// Judges a model by what its manifest lists, before the files are there.
    ///
    /// # Errors
    /// As [`Policy::verify_model`].
    pub fn judge_model(
        &self,
        artifact: &Artifact,
        listing: &Listing,
        signatures: &[impl AsRef<[u8]>],
        now: SystemTime,
    ) -> Result<Judgement, Denied> {
        let decision = self.weigh(artifact, signatures, model_signature(listing, now), |_| None);
        let complete = decision.complete;
        Ok(Judgement { evidence: decision.into_evidence()?, complete })
    }

    /// Admits an app by the bytes of its OCI manifest, or refuses it. Its blobs follow, by [`Verified::admit_blob`].
    ///
    /// # Errors
    /// As [`Policy::verify_model`].
    pub fn verify_app<M: AsRef<[u8]>>(
        &self,
        artifact: &Artifact,
        manifest: M,
        signatures: &[impl AsRef<[u8]>],
        now: SystemTime,
    ) -> Result<Verified<M>, Denied> {
        let decision = self.test_app(artifact, manifest.as_ref(), signatures, now);
        Ok(Verified::admitted(manifest, decision.into_evidence()?))
    }

    /// What [`Policy::verify_model`] decides, and why.
    pub fn test_model<B: FileBytes>(
        &self,
        artifact: &Artifact,
        files: &BTreeMap<String, B>,
        signatures: &[impl AsRef<[u8]>],
        now: SystemTime,
    ) -> Decision {
        self.weigh(artifact, signatures, model_signature(&Files(files), now), |left_out| {
            Some(Stated::by_model(files, left_out).map_err(|error| error.to_string()))
        })
    }

    /// What [`Policy::verify_app`] decides, and why.
    pub fn test_app(
        &self,
        artifact: &Artifact,
        manifest: &[u8],
        signatures: &[impl AsRef<[u8]>],
        now: SystemTime,
    ) -> Decision {
        let digest = Sha256Digest::of(manifest);
        let verify = |bundle: &[u8], authority: &Authority| {
            let signer = component::verify(bundle, &digest, authority, now)?;
            Ok(Counted { signer, left_out: Vec::new(), complete: true })
        };
        self.weigh(artifact, signatures, verify, |_| Some(Stated::by_app(manifest).map_err(|error| error.to_string())))
    }

    fn weigh(
        &self,
        artifact: &Artifact,
        signatures: &[impl AsRef<[u8]>],
        verify: impl Fn(&[u8], &Authority) -> Result<Counted, VerifyError>,
        stated: impl FnOnce(&[String]) -> StatedFound,
    ) -> Decision {
        let repository = artifact.repository();
        let fitting = self.rules.iter().position(|rule| rule.artifact.fits(&repository));
        let passed_over = self.rules.get(..fitting.unwrap_or(self.rules.len())).unwrap_or_default();
        let mut decision = Decision {
            artifact: artifact.clone(),
            policy: self.file.clone(),
            verdict: Verdict::Denied,
            passed_over: passed_over.iter().map(RuleRef::from).collect(),
            rule: None,
            signatures: signatures.len(),
            attempts: Vec::new(),
            signer: None,
            left_out: Vec::new(),
            problems: Vec::new(),
            residency: Residency::default(),
            complete: false,
        };
        let Some(rule) = fitting.and_then(|place| self.rules.get(place)) else { return decision };
        decision.rule = Some(RuleRef::from(rule));
        decision.residency = rule.residency.clone();
        if let Some(counted) = try_signatures(rule, signatures, verify, &mut decision.attempts) {
            decision.signer = Some(counted.signer);
            decision.left_out = counted.left_out;
            decision.complete = counted.complete;
        }
        decision.problems = problems(rule, artifact, stated(&decision.left_out));
        decision.verdict = match (decision.signer.is_some() && decision.problems.is_empty(), rule.mode) {
            (true, _) => Verdict::Admitted,
            (false, Mode::Warn) => Verdict::AdmittedWithWarning,
            (false, Mode::Enforce) => Verdict::Denied,
        };
        decision
    }
}

/// How a model's signature is verified.
fn model_signature(
    contents: &dyn Contents,
    now: SystemTime,
) -> impl Fn(&[u8], &Authority) -> Result<Counted, VerifyError> {
    let options = VerifyOptions { now, ..VerifyOptions::default() };
    move |bundle, authority| {
        let oms::Verdict { signer, unsigned, complete, .. } = oms::verify(bundle, contents, authority, &options)?;
        Ok(Counted { signer, left_out: unsigned, complete })
    }
}

/// The first signature that counts, with every attempt written down.
fn try_signatures(
    rule: &Rule,
    signatures: &[impl AsRef<[u8]>],
    verify: impl Fn(&[u8], &Authority) -> Result<Counted, VerifyError>,
    attempts: &mut Vec<Attempt>,
) -> Option<Counted> {
    for (signature, number) in signatures.iter().take(SIGNATURES_MAX).zip(1..) {
        for NamedAuthority { label, authority } in &rule.authorities {
            let outcome = verify(signature.as_ref(), authority);
            attempts.push(Attempt::new(number, label, outcome.as_ref().err()));
            if let Ok(counted) = outcome {
                return Some(counted);
            }
        }
    }
    None
}

/// What the rule asks for beside a signature, and is not so.
fn problems(rule: &Rule, artifact: &Artifact, stated: StatedFound) -> Vec<String> {
    let mut problems = Vec::new();
    if let Some(minimum) = rule.minimum_version.as_ref().filter(|minimum| artifact.version() < minimum) {
        problems.push(format!("version {} is older than {minimum}, the oldest the rule admits", artifact.version()));
    }
    match stated {
        None => {}
        Some(Err(unreadable)) => problems.push(unreadable),
        Some(Ok(stated)) => {
            if let Err(other) = artifact.check_stated(&stated) {
                problems.push(other.to_string());
            }
            // Otherwise an old version could be offered again under a new number.
            if let (Some(minimum), None) = (&rule.minimum_version, &stated.version) {
                problems.push(format!(
                    "the rule admits versions from {minimum} on, and nothing that is signed says which version this is \
                     (a model states it in `{MODEL_MANIFEST}`, an app in the annotation `{ANNOTATION_VERSION}`)"
                ));
            }
        }
    }
    problems
}
