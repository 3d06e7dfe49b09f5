//! What a policy decided about one artifact, and why: which rule, which signatures under which authorities, what was
//! wrong. The same record admits, refuses, and explains (`headland policy test`).

use std::fmt;

use serde::Serialize;

use super::artifact::Artifact;
use super::explain::Runs;
use super::judge::SIGNATURES_MAX;
use super::rule::{Mode, Residency, Rule};
use crate::verified::{Admission, Evidence};
use crate::{Signer, VerifyError, chain};

/// Attempts that a refusal in one line spells out; the explanation has them all.
const ATTEMPTS_SHOWN_MAX: usize = 3;

/// What a policy decided about one artifact.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Decision {
    /// What was judged.
    pub artifact: Artifact,
    /// The policy's file.
    pub policy: String,
    /// The result.
    pub verdict: Verdict,
    /// The rules that were held against it first and do not fit, in order.
    pub passed_over: Vec<RuleRef>,
    /// The rule that decided; `None` when none fits, which refuses.
    pub rule: Option<RuleRef>,
    /// How many signatures came with it.
    pub signatures: usize,
    /// Each signature held against each authority, in order, up to the first that counts.
    pub attempts: Vec<Attempt>,
    /// The first signer that counts.
    pub signer: Option<Signer>,
    /// Files that the signature does not cover, and that are left out of what is admitted.
    pub left_out: Vec<String>,
    /// What else the rule asks for and is not so.
    pub problems: Vec<String>,
    /// Whether the content was judged. `false` while only a listing of it is there.
    pub complete: bool,
    /// Where it may run.
    pub residency: Residency,
}

/// What comes of an artifact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It counts.
    Admitted,
    /// It fails, and its rule, in mode `warn`, lets it in all the same.
    AdmittedWithWarning,
    /// It is refused.
    Denied,
}

/// A rule, as decisions name it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RuleRef {
    /// Its name.
    pub name: String,
    /// Its glob.
    pub artifact: String,
    /// Its mode.
    pub mode: Mode,
}

impl From<&Rule> for RuleRef {
    fn from(rule: &Rule) -> Self {
        RuleRef { name: rule.name.clone(), artifact: rule.artifact().to_owned(), mode: rule.mode }
    }
}

/// One signature held against one authority.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Attempt {
    /// Which signature, counted from 1.
    pub signature: usize,
    /// Whose signature it would have to be.
    pub authority: String,
    /// Why it does not count; `None` when it does.
    pub refusal: Option<String>,
}

impl Attempt {
    pub(super) fn new(signature: usize, authority: &str, refusal: Option<&VerifyError>) -> Self {
        let refusal = refusal.map(|error| chain(error));
        Attempt { signature, authority: authority.to_owned(), refusal }
    }
}

impl Decision {
    /// What is wrong, each in a sentence without its full stop; empty when admitted without warning.
    pub fn failures(&self) -> Vec<String> {
        if self.rule.is_none() {
            return vec!["no rule of the policy fits it, and what no rule names is refused".to_owned()];
        }
        let mut failures = Vec::new();
        if self.signer.is_none() {
            failures.push(self.signature_failure());
        }
        failures.extend(self.problems.iter().cloned());
        failures
    }

    fn signature_failure(&self) -> String {
        if self.signatures == 0 {
            return "it carries no signature".to_owned();
        }
        if self.attempts.is_empty() {
            return "the rule names no authority, so that no signature counts".to_owned();
        }
        let shown: Vec<String> = self
            .attempts
            .iter()
            .take(ATTEMPTS_SHOWN_MAX)
            .map(|attempt| {
                let refusal = attempt.refusal.as_deref().unwrap_or_default();
                format!("signature {} does not count under {}: {refusal}", attempt.signature, attempt.authority)
            })
            .collect();
        let mut text = shown.join("; ");
        match self.attempts.len().saturating_sub(ATTEMPTS_SHOWN_MAX) {
            0 => {}
            left => text += &format!("; and {left} more attempts failed"),
        }
        if self.signatures > SIGNATURES_MAX {
            text += &format!("; of its {} signatures, only the first {SIGNATURES_MAX} are looked at", self.signatures);
        }
        text
    }

    /// The evidence of an artifact that is admitted.
    pub(super) fn into_evidence(self) -> Result<Evidence, Denied> {
        let warnings = match self.verdict {
            Verdict::Denied => return Err(Denied(Box::new(self))),
            Verdict::Admitted => Vec::new(),
            Verdict::AdmittedWithWarning => self.failures(),
        };
        let rule = self.rule.map(|rule| rule.name).unwrap_or_default();
        Ok(Evidence {
            artifact: Some(self.artifact),
            admission: Admission::Rule { policy: self.policy, rule },
            signer: self.signer,
            warnings,
            residency: self.residency,
        })
    }
}

/// The explanation: what `headland policy test` prints.
impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = match self.verdict {
            Verdict::Admitted => "is admitted",
            Verdict::AdmittedWithWarning => "is admitted with a warning",
            Verdict::Denied => "is refused",
        };
        writeln!(f, "{} {verdict} by {}.", self.artifact, self.policy)?;
        for rule in &self.passed_over {
            writeln!(f, "  rule `{}` does not fit: it is about {}", rule.name, rule.artifact)?;
        }
        match &self.rule {
            Some(rule) => writeln!(f, "  rule `{}` decides: it is about {}", rule.name, rule.artifact)?,
            None => writeln!(f, "  no rule fits, and what no rule names is refused")?,
        }
        for attempt in &self.attempts {
            match &attempt.refusal {
                None => writeln!(f, "  signature {} counts under {}", attempt.signature, attempt.authority)?,
                Some(refusal) => {
                    writeln!(
                        f,
                        "  signature {} does not count under {}: {refusal}",
                        attempt.signature, attempt.authority
                    )?;
                }
            }
        }
        if self.rule.is_some() && self.attempts.is_empty() {
            writeln!(f, "  {}", self.signature_failure())?;
        }
        for problem in &self.problems {
            writeln!(f, "  {problem}")?;
        }
        if let Some(signer) = &self.signer {
            writeln!(f, "  signed by {signer}")?;
        }
        for file in &self.left_out {
            writeln!(f, "  `{file}` is not signed, and left out")?;
        }
        if !self.complete && self.verdict != Verdict::Denied {
            writeln!(f, "  the content is judged when it is there")?;
        }
        if self.verdict == Verdict::AdmittedWithWarning {
            writeln!(f, "  the rule only warns: without `mode = \"warn\"` this would be refused")?;
        }
        if self.verdict != Verdict::Denied {
            write!(f, "{}", Runs(&self.residency, "  "))?;
        }
        Ok(())
    }
}

/// A refusal, with the decision it comes from.
#[derive(Clone, Debug)]
pub struct Denied(Box<Decision>);

impl Denied {
    /// Why, in full.
    pub fn decision(&self) -> &Decision {
        &self.0
    }
}

impl std::error::Error for Denied {}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Decision { artifact, policy, rule, .. } = &*self.0;
        match rule {
            Some(rule) => write!(f, "{artifact} is refused by rule `{}` of {policy}: ", rule.name)?,
            None => write!(f, "{artifact} is refused by {policy}: ")?,
        }
        f.write_str(&self.0.failures().join("; "))
    }
}
