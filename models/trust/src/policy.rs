//! The trust policy: an operator's file that says whose signature counts for which model or app. Deny by default.
//!
//! Stands at the end of this crate: [`oms`](crate::oms) and [`component`](crate::component) find out who signed, the
//! policy decides whether that counts, and its yes is a [`Verified`](crate::Verified) value. `docs/policy.md` describes the file, with an example.
//!
//! The first rule whose glob fits the repository (`models/NAME`, `apps/NAME`) decides; there is no falling through to a
//! later one. Mode `warn` lets in what fails, with a warning that stays with it; where an artifact may run (`regions`,
//! `accelerators`) holds in every mode.

mod artifact;
mod authorities;
mod decision;
mod explain;
mod file;
mod judge;
mod rule;

use std::path::{Path, PathBuf};

use headland_package::strict_toml::{FILE_BYTES_MAX, TomlError};

pub use artifact::{Artifact, OtherArtifact, ParseArtifactError, Stated};
pub use authorities::{IDENTITIES_MAX, MATERIAL_BYTES_MAX, ROOTS_MAX};
pub use decision::{Attempt, Decision, Denied, RuleRef, Verdict};
pub use explain::{Explanation, RuleExplanation};
pub use file::{AUTHORITIES_MAX, RULES_MAX};
pub use judge::{Judgement, SIGNATURES_MAX};
pub use rule::{DEVICE_CLASSES, Glob, Mode, Residency, Rule};

/// A policy, read and ready.
#[derive(Clone, Debug)]
pub struct Policy {
    file: String,
    rules: Vec<Rule>,
}

/// A policy that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// The file cannot be read, or is not what it should be: line, problem, suggestion.
    #[error(transparent)]
    File(#[from] TomlError),
    /// The file as a whole is wrong.
    #[error("{file}: {problem}")]
    Policy {
        /// The policy's file.
        file: String,
        /// What is wrong.
        problem: String,
    },
    /// A rule is wrong.
    #[error("{file}: rule `{rule}`: {problem}")]
    Rule {
        /// The policy's file.
        file: String,
        /// The rule's name.
        rule: String,
        /// What is wrong.
        problem: String,
    },
    /// A key, root or identity of a rule cannot be used.
    #[error("{file}: rule `{rule}`: cannot use {what}")]
    Authority {
        /// The policy's file.
        file: String,
        /// The rule's name.
        rule: String,
        /// Which: the file it was read from.
        what: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Policy {
    /// Reads the policy in the file `path`, and the keys and roots it names.
    ///
    /// # Errors
    /// [`PolicyError`], naming the file and the line or rule.
    pub fn read(path: &Path) -> Result<Self, PolicyError> {
        let read_error = |source| TomlError::Read { path: path.to_owned(), source };
        if std::fs::metadata(path).map_err(read_error)?.len() > FILE_BYTES_MAX {
            return Err(TomlError::TooLarge { path: path.to_owned() }.into());
        }
        Self::parse(&std::fs::read_to_string(path).map_err(read_error)?, path)
    }

    /// Reads `text` as if it stood in the file `path`: that is what errors call it, and paths in it are relative to that
    /// file's folder.
    ///
    /// # Errors
    /// As [`Policy::read`].
    pub fn parse(text: &str, path: &Path) -> Result<Self, PolicyError> {
        Ok(Policy { rules: file::rules(text, path)?, file: path.display().to_string() })
    }

    /// The file it was read from, as it was named.
    pub fn file(&self) -> PathBuf {
        PathBuf::from(&self.file)
    }

    /// The rules, in the order they are held against an artifact.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The rule that decides about a repository (`models/NAME`, `apps/NAME`); without one, everything is refused.
    pub fn decide(&self, repository: &str) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.artifact.fits(repository))
    }

    /// What the policy says, in plain words.
    pub fn explain(&self) -> Explanation {
        explain::explain(self)
    }
}
