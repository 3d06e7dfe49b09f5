//! Which repository an artifact lives in: `models/NAME` or `apps/NAME`.

use super::ArtifactError;
use crate::{AppName, ModelName};

/// Where models live.
const MODELS: &str = "models/";
/// Where apps live.
const APPS: &str = "apps/";

/// What a repository's name says it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RepositoryKind {
    /// Versions of this model.
    Model(ModelName),
    /// Versions of this app.
    App(AppName),
    /// Anything; stored, never loaded.
    Other,
}

/// What `repository` holds, by its name.
pub fn repository_kind(repository: &str) -> RepositoryKind {
    let model = || repository.strip_prefix(MODELS)?.parse().ok().map(RepositoryKind::Model);
    let app = || repository.strip_prefix(APPS)?.parse().ok().map(RepositoryKind::App);
    model().or_else(app).unwrap_or(RepositoryKind::Other)
}

/// The repository of a model: `models/NAME`.
///
/// # Errors
/// [`ArtifactError::Name`] when the name is no repository name.
pub fn model_repository(name: &ModelName) -> Result<String, ArtifactError> {
    repository(MODELS, name.as_str())
}

/// The repository of an app: `apps/NAME`.
///
/// # Errors
/// [`ArtifactError::Name`] when the name is no repository name.
pub fn app_repository(name: &AppName) -> Result<String, ArtifactError> {
    repository(APPS, name.as_str())
}

/// Repository names know fewer shapes than model names: lower case, and single separators between the words, except
/// that dashes may repeat and an underscore may be doubled.
fn repository(folder: &str, name: &str) -> Result<String, ArtifactError> {
    let refuse = |problem| Err(ArtifactError::Name { name: name.to_owned(), problem });
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return refuse("registries know lower-case names only; push it under one with --name");
    }
    let alphanumeric = |c: char| c.is_ascii_alphanumeric();
    let separators = name.split(alphanumeric).filter(|separator| !separator.is_empty());
    let plain = |separator: &str| matches!(separator, "." | "_" | "__") || separator.bytes().all(|byte| byte == b'-');
    if !name.ends_with(alphanumeric) || !separators.into_iter().all(plain) {
        return refuse("registries know names of words with single `.`, `_` or `-` between them; push it with --name");
    }
    Ok(format!("{folder}{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_leads_to_its_repository_and_back() {
        for name in ["all-minilm-l6-v2", "a.b_c__d--e", "7b"] {
            let name: ModelName = name.parse().unwrap();
            let repository = model_repository(&name).unwrap();
            assert_eq!(repository_kind(&repository), RepositoryKind::Model(name));
        }
        let app: AppName = "search".parse().unwrap();
        assert_eq!(repository_kind(&app_repository(&app).unwrap()), RepositoryKind::App(app));
    }

    #[test]
    fn other_repositories_hold_anything() {
        for repository in ["library/busybox", "models", "models/", "models/a/b", "xmodels/a", "apps/../models/x"] {
            assert_eq!(repository_kind(repository), RepositoryKind::Other, "{repository}");
        }
    }

    #[test]
    fn names_that_no_registry_takes_say_what_to_do() {
        for (name, expected) in [("MiniLM", "lower-case"), ("a..b", "single"), ("a-", "single"), ("a_-b", "single")] {
            let error = model_repository(&name.parse().unwrap()).unwrap_err().to_string();
            assert!(error.contains(expected) && error.contains("--name"), "{name}: {error}");
        }
    }
}
