//! A policy in plain words: what `headland policy check` prints, for people and as JSON.

use std::collections::BTreeSet;
use std::fmt;

use headland_package::ModelVersion;
use serde::Serialize;

use super::Policy;
use super::rule::{Mode, Residency, Rule};

/// What a policy says, rule by rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// The policy's file.
    pub policy: String,
    /// Its rules, in the order they are held against an artifact.
    pub rules: Vec<RuleExplanation>,
}

/// What one rule says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RuleExplanation {
    /// Its name.
    pub name: String,
    /// Its glob.
    pub artifact: String,
    /// Its mode.
    pub mode: Mode,
    /// Whose signature counts, each in words.
    pub authorities: Vec<String>,
    /// The lowest version that counts.
    pub minimum_version: Option<ModelVersion>,
    /// Where what it admits may run.
    pub residency: Residency,
    /// An earlier rule with the same glob, which decides before this one ever can.
    pub shadowed_by: Option<String>,
}

pub(super) fn explain(policy: &Policy) -> Explanation {
    let rules = policy.rules.iter().enumerate().map(|(place, rule)| explain_rule(rule, &policy.rules[..place]));
    Explanation { policy: policy.file.clone(), rules: rules.collect() }
}

fn explain_rule(rule: &Rule, earlier: &[Rule]) -> RuleExplanation {
    let shadow = earlier.iter().find(|earlier| earlier.artifact() == rule.artifact() || earlier.artifact() == "**");
    RuleExplanation {
        name: rule.name.clone(),
        artifact: rule.artifact().to_owned(),
        mode: rule.mode,
        authorities: rule.authorities.iter().map(|authority| authority.label.clone()).collect(),
        minimum_version: rule.minimum_version.clone(),
        residency: rule.residency.clone(),
        shadowed_by: shadow.map(|earlier| earlier.name.clone()),
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.rules.len() {
            0 => return writeln!(f, "{}: no rules, so that everything is refused.", self.policy),
            1 => writeln!(f, "{}: one rule. What it does not fit is refused.", self.policy)?,
            count => {
                writeln!(f, "{}: {count} rules. The first that fits decides; what none fits is refused.", self.policy)?;
            }
        }
        for (place, rule) in self.rules.iter().enumerate() {
            write!(f, "\n{}. {rule}", place.saturating_add(1))?;
        }
        Ok(())
    }
}

impl fmt::Display for RuleExplanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: about {}", self.name, self.artifact)?;
        if let Some(earlier) = &self.shadowed_by {
            writeln!(f, "   never decides: rule `{earlier}` fits the same artifacts and comes first")?;
        }
        match (&self.authorities[..], self.mode) {
            ([], Mode::Enforce) => writeln!(f, "   admits nothing: it names nobody whose signature would count")?,
            ([], Mode::Warn) => writeln!(f, "   admits everything, signed or not, with a warning")?,
            ([only], _) => writeln!(f, "   must be signed by {only}")?,
            (several, _) => {
                writeln!(f, "   must be signed by one of")?;
                for authority in several {
                    writeln!(f, "   - {authority}")?;
                }
            }
        }
        if let Some(version) = &self.minimum_version {
            writeln!(f, "   must be version {version} or later, and state its version where the signature covers it")?;
        }
        write!(f, "{}", Runs(&self.residency, "   "))?;
        if self.mode == Mode::Warn && !self.authorities.is_empty() {
            writeln!(f, "   only warns: what fails is admitted all the same")?;
        }
        Ok(())
    }
}

/// Where something may run, a line for each restriction, after this indentation.
pub(super) struct Runs<'a>(pub(super) &'a Residency, pub(super) &'static str);

impl fmt::Display for Runs<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |set: &BTreeSet<String>| set.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        if let Some(regions) = &self.0.regions {
            writeln!(f, "{}runs only in {}", self.1, list(regions))?;
        }
        if let Some(accelerators) = &self.0.accelerators {
            writeln!(f, "{}runs only on {}", self.1, list(accelerators))?;
        }
        Ok(())
    }
}
