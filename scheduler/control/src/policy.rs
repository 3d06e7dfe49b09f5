//! What the fleet's trust policy lets the plan do: where a model may run, by the first rule that fits it.
//!
//! Pure. PoPs judge by policies of their own, whatever is planned; what is planned against the policy would be refused there.

use std::collections::BTreeSet;

use headland_fleet::{PolicyRecord, PolicyRule};
use headland_package::ModelName;
use headland_placement::DeviceKind;
use headland_trust::policy::{Glob, RULES_MAX};

/// The rules of a policy, ready to be held against models.
#[derive(Debug)]
pub struct Rules(Vec<(Glob, PolicyRule)>);

/// Where a model may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allowed<'a> {
    /// Nothing is known of a policy.
    Unknown,
    /// The policy refuses it.
    Nowhere,
    /// Where this rule says.
    By(&'a PolicyRule),
}

impl Rules {
    /// The rules of a record.
    ///
    /// # Errors
    /// Which rule cannot be used, and why.
    pub fn of(record: &PolicyRecord) -> Result<Self, String> {
        if record.rules.len() > RULES_MAX {
            return Err(format!("a policy has at most {RULES_MAX} rules"));
        }
        let rule = |rule: &PolicyRule| {
            let glob = Glob::parse(&rule.artifact).map_err(|why| format!("rule `{}`: {why}", rule.name))?;
            Ok::<_, String>((glob, rule.clone()))
        };
        record.rules.iter().map(rule).collect::<Result<_, _>>().map(Rules)
    }

    /// Where `model` may run.
    pub fn allowed(&self, model: &ModelName) -> Allowed<'_> {
        let repository = format!("models/{model}");
        match self.0.iter().find(|(glob, _)| glob.fits(&repository)) {
            Some((_, rule)) if rule.admits => Allowed::By(rule),
            _ => Allowed::Nowhere,
        }
    }
}

impl Allowed<'_> {
    /// The only regions it may be in; `None` where any will do.
    pub fn regions(&self) -> Option<BTreeSet<&str>> {
        match self {
            Allowed::Unknown => None,
            Allowed::Nowhere => Some(BTreeSet::new()),
            Allowed::By(rule) => rule.regions.as_ref().map(|regions| regions.iter().map(String::as_str).collect()),
        }
    }

    /// Whether it may be in a region.
    pub fn region(&self, region: &str) -> bool {
        self.regions().is_none_or(|regions| regions.contains(region))
    }

    /// Whether it may be on a kind of device; `None` where nothing is said of kinds.
    pub fn kind(&self, kind: DeviceKind) -> Option<bool> {
        let Allowed::By(PolicyRule { accelerators: Some(classes), .. }) = self else { return None };
        Some(classes.contains(match kind {
            DeviceKind::Cpu => "cpu",
            DeviceKind::Gpu => "cuda",
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::rule;

    #[test]
    fn the_first_rule_that_fits_says_where_and_what_none_fits_may_run_nowhere() {
        let mut eu = rule("models/acme-*");
        eu.regions = Some(["eu".to_owned()].into());
        eu.accelerators = Some(["cuda".to_owned()].into());
        let withdrawn = PolicyRule { admits: false, ..rule("models/old") };
        let rules = Rules::of(&PolicyRecord { rules: vec![eu, withdrawn, rule("models/o*")] }).unwrap();
        let of = |name: &str| rules.allowed(&name.parse().unwrap());
        let acme = of("acme-digits");
        assert!(acme.region("eu") && !acme.region("us"));
        assert_eq!((acme.kind(DeviceKind::Cpu), acme.kind(DeviceKind::Gpu)), (Some(false), Some(true)));
        assert_eq!(of("old"), Allowed::Nowhere);
        assert_eq!((of("other").regions(), of("other").kind(DeviceKind::Cpu)), (None, None));
        assert_eq!(of("digits").regions(), Some(BTreeSet::new()), "no rule fits it");
        assert!(Allowed::Unknown.region("anywhere"));
    }

    #[test]
    fn a_rule_that_cannot_be_read_is_named() {
        let error = Rules::of(&PolicyRecord { rules: vec![rule("digits")] }).unwrap_err();
        assert!(error.starts_with("rule `digits`: no artifact can fit `digits`"), "{error}");
    }
}
