//! One rule of a policy: which artifacts it decides about, whose signature it takes, and what else it asks for.

use std::collections::BTreeSet;

use globset::{GlobBuilder, GlobMatcher};
use headland_package::ModelVersion;
use serde::{Deserialize, Serialize};

use crate::Authority;

/// The longest pattern, in bytes.
const PATTERN_BYTES_MAX: usize = 256;
/// The longest name of a region, in bytes.
const REGION_BYTES_MAX: usize = 64;
/// The device classes Headland has.
pub const DEVICE_CLASSES: [&str; 2] = ["cpu", "cuda"];

/// One rule, checked.
#[derive(Clone, Debug)]
pub struct Rule {
    pub(super) name: String,
    pub(super) artifact: Pattern,
    pub(super) mode: Mode,
    pub(super) minimum_version: Option<ModelVersion>,
    pub(super) residency: Residency,
    pub(super) authorities: Vec<NamedAuthority>,
}

/// An authority, and how people call it.
#[derive(Clone, Debug)]
pub(super) struct NamedAuthority {
    pub(super) label: String,
    pub(super) authority: Authority,
}

impl Rule {
    /// What the rule is called in explanations.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The glob that says which artifacts the rule decides about.
    pub fn artifact(&self) -> &str {
        &self.artifact.text
    }

    /// What happens to an artifact that fails the rule.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Where what the rule admits may run.
    pub fn residency(&self) -> &Residency {
        &self.residency
    }

    /// Whether it admits anything: one that names nobody whose signature would count refuses all, unless it only warns.
    pub fn admits(&self) -> bool {
        self.mode == Mode::Warn || !self.authorities.is_empty()
    }
}

/// A glob as rules have it, for whoever knows a rule by its text.
#[derive(Clone, Debug)]
pub struct Glob(Pattern);

impl Glob {
    /// Reads it.
    ///
    /// # Errors
    /// Why no artifact can fit it, or what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        Pattern::try_from(text.to_owned()).map(Glob)
    }

    /// Whether a repository (`models/NAME`, `apps/NAME`) fits.
    pub fn fits(&self, repository: &str) -> bool {
        self.0.fits(repository)
    }
}

/// What happens to an artifact that fails its rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// It is refused.
    #[default]
    Enforce,
    /// It is admitted, with a warning that stays with it.
    Warn,
}

/// Where an artifact may run. What is not named is not restricted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Residency {
    /// Regions; any when absent.
    pub regions: Option<BTreeSet<String>>,
    /// Device classes, of [`DEVICE_CLASSES`]; any when absent.
    pub accelerators: Option<BTreeSet<String>>,
}

impl Residency {
    /// Whether it may run on this device, given as class (`cuda`) or as device (`cuda:1`).
    pub fn allows_device(&self, device: &str) -> bool {
        let class = device.split_once(':').map_or(device, |(class, _)| class);
        self.accelerators.as_ref().is_none_or(|allowed| allowed.contains(class))
    }

    /// Whether it may run in this region.
    pub fn allows_region(&self, region: &str) -> bool {
        self.regions.as_ref().is_none_or(|allowed| allowed.contains(region))
    }
}

/// A glob over `models/NAME` and `apps/NAME`. `*` and `?` stand for anything but `/`, `**` for anything at all, `[ab]` and
/// `[a-z]` for one of these, `{a,b}` for either; `\` takes the next character as it is. The whole name must fit.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Pattern {
    text: String,
    matcher: GlobMatcher,
}

impl Pattern {
    pub(super) fn fits(&self, repository: &str) -> bool {
        self.matcher.is_match(repository)
    }
}

impl TryFrom<String> for Pattern {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text.len() > PATTERN_BYTES_MAX {
            return Err(format!("a pattern is at most {PATTERN_BYTES_MAX} bytes long"));
        }
        if !could_fit(&text) {
            return Err(format!(
                "no artifact can fit `{text}`: they are called `models/NAME` and `apps/NAME`; \
                 write `models/acme-*` for some models, `**` for everything"
            ));
        }
        let matcher = GlobBuilder::new(&text)
            .literal_separator(true)
            .backslash_escape(true)
            .build()
            .map_err(|error| format!("not a pattern: {error}"))?
            .compile_matcher();
        Ok(Pattern { text, matcher })
    }
}

/// Whether what stands before the pattern's first special character leaves room for a model or an app. Catches the
/// forgotten `models/`, which would otherwise be a rule that never decides.
fn could_fit(pattern: &str) -> bool {
    let literal = pattern.split(['*', '?', '[', '{', '\\']).next().unwrap_or_default();
    let begins = ["models/", "apps/"].iter().any(|folder| folder.starts_with(literal) || literal.starts_with(folder));
    begins && (pattern.contains('/') || pattern.contains("**")) && !pattern.ends_with('/')
}

/// A region's name: letters, digits, `.`, `_`, `-`.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Region(pub(super) String);

impl TryFrom<String> for Region {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        if text.is_empty() || text.len() > REGION_BYTES_MAX || !text.bytes().all(known) {
            return Err("a region is 1 to 64 letters, digits, `.`, `_` or `-`".to_owned());
        }
        Ok(Region(text))
    }
}

/// One of [`DEVICE_CLASSES`].
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Accelerator(pub(super) String);

impl TryFrom<String> for Accelerator {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if DEVICE_CLASSES.contains(&text.as_str()) {
            return Ok(Accelerator(text));
        }
        let shown: String = text.chars().take(REGION_BYTES_MAX).collect();
        Err(format!("unknown accelerator `{shown}`; the classes are `{}`", DEVICE_CLASSES.join("`, `")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(pattern: &str, repository: &str) -> bool {
        Pattern::try_from(pattern.to_owned()).unwrap().fits(repository)
    }

    #[test]
    fn a_pattern_fits_the_whole_name() {
        assert!(fits("models/acme-*", "models/acme-digits"));
        assert!(!fits("models/acme-*", "models/acme"));
        assert!(!fits("models/acme", "models/acme-digits"));
        assert!(!fits("models/acme-*", "xmodels/acme-digits"));
        assert!(fits("*/hello", "apps/hello"));
        assert!(fits("{models,apps}/a?", "models/ab"));
        assert!(!fits("models/[a-c]*", "models/d"));
        assert!(!fits("MODELS/x".to_lowercase().as_str(), "models/X"));
    }

    #[test]
    fn a_star_stays_within_its_part_and_two_cross() {
        assert!(!fits("models/*", "models/team/x"));
        assert!(fits("models/**", "models/team/x"));
        assert!(fits("**", "apps/anything"));
    }

    #[test]
    fn a_pattern_that_can_fit_nothing_is_refused() {
        for pattern in ["", "acme-*", "*", "model/x", "models", "models/", "/models/x"] {
            let error = Pattern::try_from(pattern.to_owned()).unwrap_err();
            assert!(error.contains("no artifact can fit"), "{pattern}: {error}");
        }
        assert!(Pattern::try_from("models/[a".to_owned()).unwrap_err().starts_with("not a pattern"));
        assert!(Pattern::try_from(format!("models/{}", "x".repeat(300))).unwrap_err().contains("256"));
    }

    #[test]
    fn what_is_not_named_is_not_restricted() {
        let anywhere = Residency::default();
        assert!(anywhere.allows_device("cuda:3") && anywhere.allows_region("mars"));
        let here =
            Residency { regions: Some(["eu".to_owned()].into()), accelerators: Some(["cuda".to_owned()].into()) };
        assert!(here.allows_device("cuda:3") && here.allows_device("cuda") && !here.allows_device("cpu"));
        assert!(here.allows_region("eu") && !here.allows_region("us") && !here.allows_region("EU"));
    }
}
