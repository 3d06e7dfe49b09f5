//! The policy's file: what stands in it, read strictly, and turned into rules that can be used as they are. Whatever a
//! rule refers to (keys, roots) is read here, once.

use std::collections::BTreeSet;
use std::path::Path;

use headland_package::ModelVersion;
use headland_package::strict_toml::{self, FILE_BYTES_MAX, TomlError};
use serde::Deserialize;

use super::PolicyError;
use super::authorities::{self, RawAuthority};
use super::rule::{Accelerator, Mode, Pattern, Region, Residency, Rule};

/// The version of the format that is read.
const VERSION: u32 = 1;
/// The most rules of one policy.
pub const RULES_MAX: usize = 1_000;
/// The most authorities of one rule.
pub const AUTHORITIES_MAX: usize = 100;
/// The longest name of a rule, in bytes.
const RULE_NAME_BYTES_MAX: usize = 128;
/// The most regions of one rule.
const REGIONS_MAX: usize = 1_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPolicy {
    version: u32,
    #[serde(default)]
    rule: Vec<RawRule>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRule {
    name: String,
    artifact: Pattern,
    #[serde(default)]
    mode: Mode,
    minimum_version: Option<ModelVersion>,
    regions: Option<Vec<Region>>,
    accelerators: Option<Vec<Accelerator>>,
    #[serde(default)]
    authority: Vec<RawAuthority>,
}

/// The rules that `text` states, as if it stood in the file `path`.
pub(super) fn rules(text: &str, path: &Path) -> Result<Vec<Rule>, PolicyError> {
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(TomlError::TooLarge { path: path.to_owned() }.into());
    }
    let file = path.display().to_string();
    let raw: RawPolicy = strict_toml::parse(&file, text)?;
    let unusable = |problem: String| PolicyError::Policy { file: file.clone(), problem };
    if raw.version != VERSION {
        return Err(unusable(format!("`version = {}` is not known here; write `version = {VERSION}`", raw.version)));
    }
    if raw.rule.len() > RULES_MAX {
        return Err(unusable(format!("{} rules; at most {RULES_MAX} are read", raw.rule.len())));
    }
    let mut names = BTreeSet::new();
    for rule in &raw.rule {
        if !names.insert(rule.name.as_str()) {
            return Err(unusable(format!(
                "two rules are called `{}`; a decision could not say which it means",
                rule.name
            )));
        }
    }
    let folder = path.parent().unwrap_or(Path::new(""));
    raw.rule.into_iter().map(|raw| rule(raw, &file, folder)).collect()
}

fn rule(raw: RawRule, file: &str, folder: &Path) -> Result<Rule, PolicyError> {
    let name = raw.name;
    let unusable = |problem: String| PolicyError::Rule {
        file: file.to_owned(),
        rule: name.chars().take(RULE_NAME_BYTES_MAX).collect(),
        problem,
    };
    if name.trim().is_empty() || name.len() > RULE_NAME_BYTES_MAX || name.chars().any(char::is_control) {
        return Err(unusable(format!("a rule's name is one line of 1 to {RULE_NAME_BYTES_MAX} bytes")));
    }
    if raw.authority.len() > AUTHORITIES_MAX {
        return Err(unusable(format!("{} authorities; at most {AUTHORITIES_MAX} are read", raw.authority.len())));
    }
    let regions = restriction("regions", raw.regions, REGIONS_MAX, |region| region.0).map_err(unusable)?;
    let accelerators = restriction("accelerators", raw.accelerators, REGIONS_MAX, |class| class.0).map_err(unusable)?;
    let mut authorities = Vec::with_capacity(raw.authority.len());
    for authority in raw.authority {
        let authority = authorities::load(authority, folder).map_err(|(what, source)| PolicyError::Authority {
            file: file.to_owned(),
            rule: name.clone(),
            what,
            source,
        })?;
        authorities.push(authority);
    }
    Ok(Rule {
        artifact: raw.artifact,
        mode: raw.mode,
        minimum_version: raw.minimum_version,
        residency: Residency { regions, accelerators },
        authorities,
        name,
    })
}

/// A restriction that names nothing would allow nothing, which nobody means.
fn restriction<T>(
    key: &str,
    given: Option<Vec<T>>,
    max: usize,
    text: impl Fn(T) -> String,
) -> Result<Option<BTreeSet<String>>, String> {
    match given {
        Some(given) if given.is_empty() => Err(format!("`{key} = []` allows none; leave `{key}` out to allow all")),
        Some(given) if given.len() > max => Err(format!("`{key}` has {} entries; at most {max} are read", given.len())),
        given => Ok(given.map(|given| given.into_iter().map(text).collect())),
    }
}
