//! `headland.app.toml`: what an app is made of and what it may do. Deny by default.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::strict_toml::{self, TomlError};
use crate::{AppName, ByteSize, ModelRef};

/// Linear memory one instance may have, unless the manifest says otherwise.
pub const DEFAULT_MEMORY: ByteSize = ByteSize(64 << 20);
/// Time one request may take, unless the manifest says otherwise.
pub const DEFAULT_DEADLINE_MS: u64 = 10_000;
/// Instances an app may have alive at a time, unless the manifest says otherwise.
pub const DEFAULT_INSTANCES: u32 = 250;
/// The most linear memory a manifest may ask for: what 32-bit WebAssembly can address.
pub const MEMORY_MAX: ByteSize = ByteSize(4 << 30);
/// Path prefixes that belong to the native endpoints.
const RESERVED_PATHS: [&str; 2] = ["/v1", "/v2"];
/// The longest deadline a manifest may set: an hour.
pub const DEADLINE_MS_MAX: u64 = 3_600_000;
/// Largest request body, unless the manifest says otherwise.
pub const DEFAULT_BODY: ByteSize = ByteSize(8 << 20);
/// The largest share of a model that an app may ask for, beside others' 100.
pub const MODEL_WEIGHT_MAX: u32 = 10_000;
/// The most routes of one app.
pub const ROUTES_MAX: usize = 256;

/// An app's manifest, checked.
#[derive(Clone, Debug)]
pub struct AppManifest {
    /// The app.
    pub name: AppName,
    /// Where it answers, with which component.
    pub routes: Vec<Route>,
    /// Models it may use, each as `name`, `name:version` or `name@sha256:...`; a bare name allows every version.
    pub models: Vec<ModelRef>,
    /// Its share of a model that several apps want more of than there is, beside theirs.
    pub model_weight: u32,
    /// Origins it may send HTTP requests to, such as `https://api.example.com`.
    pub outbound: Vec<String>,
    /// What a request may use.
    pub limits: Limits,
    /// Environment variables of its instances.
    pub env: BTreeMap<String, String>,
    /// The file it was read from.
    pub path: PathBuf,
}

/// One route of an app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Host it answers for, lower case, without port; any host when absent.
    pub host: Option<String>,
    /// Path prefix, ending before a `/` or the end of the path.
    pub path: String,
    /// The component, as the manifest names it: relative to the manifest's folder.
    pub component: String,
    /// Share of the requests among routes of equal host and path.
    pub weight: u32,
    /// Whether an instance may answer several of this route's requests, one after the other. They share its memory then.
    pub reuse: bool,
}

/// What one request of an app may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Linear memory of an instance.
    pub memory: ByteSize,
    /// Wall time from the first byte to the last.
    pub deadline_ms: u64,
    /// Request body.
    pub body: ByteSize,
    /// Instances alive at a time; beyond it requests are told to come back.
    pub instances: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawManifest {
    name: AppName,
    route: Vec<RawRoute>,
    #[serde(default)]
    models: RawModels,
    #[serde(default)]
    outbound: RawAllow,
    #[serde(default)]
    limits: RawLimits,
    #[serde(default)]
    env: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRoute {
    host: Option<String>,
    path: String,
    component: String,
    #[serde(default = "default_weight")]
    weight: u32,
    #[serde(default)]
    reuse: bool,
}

fn default_weight() -> u32 {
    100
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawModels {
    #[serde(default)]
    allow: Vec<String>,
    weight: Option<u32>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawAllow {
    #[serde(default)]
    allow: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLimits {
    memory: Option<ByteSize>,
    deadline_ms: Option<u64>,
    body: Option<ByteSize>,
    instances: Option<u32>,
}

/// A manifest that reads as TOML but cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum AppManifestError {
    /// Not the TOML it should be.
    #[error(transparent)]
    Toml(#[from] TomlError),
    /// A value that makes no sense.
    #[error("{path}: {problem}")]
    Value {
        /// The manifest.
        path: PathBuf,
        /// What is wrong and what to write.
        problem: String,
    },
}

impl AppManifest {
    /// Reads and checks a manifest.
    ///
    /// # Errors
    /// [`AppManifestError`], naming file, line and what to write instead.
    pub fn read(path: &Path) -> Result<Self, AppManifestError> {
        let raw: RawManifest = strict_toml::read(path)?;
        raw.check(path).map_err(|problem| AppManifestError::Value { path: path.to_owned(), problem })
    }

    /// Reads and checks a manifest that is `text`, and that errors call `path`.
    ///
    /// # Errors
    /// As [`AppManifest::read`].
    pub fn parse(text: &str, path: &Path) -> Result<Self, AppManifestError> {
        let raw: RawManifest = strict_toml::parse(&path.display().to_string(), text)?;
        raw.check(path).map_err(|problem| AppManifestError::Value { path: path.to_owned(), problem })
    }

    /// The file of a component that lies where the manifest says, seen from its own folder.
    pub fn component_file(&self, component: &str) -> PathBuf {
        self.path.parent().unwrap_or(Path::new("")).join(component)
    }
}

impl RawManifest {
    fn check(self, path: &Path) -> Result<AppManifest, String> {
        if self.route.is_empty() {
            return Err("an app needs at least one [[route]] with `path` and `component`".into());
        }
        if self.route.len() > ROUTES_MAX {
            return Err(format!("{} routes; an app may have {ROUTES_MAX}", self.route.len()));
        }
        let routes = self.route.into_iter().map(RawRoute::check).collect::<Result<_, _>>()?;
        let models = self
            .models
            .allow
            .iter()
            .map(|model| model.parse().map_err(|error| format!("[models] allow: {error}")))
            .collect::<Result<_, _>>()?;
        let model_weight = self.models.weight.unwrap_or(default_weight());
        if !(1..=MODEL_WEIGHT_MAX).contains(&model_weight) {
            return Err(format!("[models] weight must be between 1 and {MODEL_WEIGHT_MAX}"));
        }
        let outbound = self.outbound.allow.iter().map(|origin| check_origin(origin)).collect::<Result<_, _>>()?;
        Ok(AppManifest {
            name: self.name,
            routes,
            models,
            model_weight,
            outbound,
            limits: self.limits.check()?,
            env: self.env,
            path: path.to_owned(),
        })
    }
}

impl RawRoute {
    fn check(self) -> Result<Route, String> {
        if !self.path.starts_with('/') {
            return Err(format!("route path `{}` must begin with `/`", self.path));
        }
        if let Some(reserved) = RESERVED_PATHS.iter().find(|reserved| {
            self.path.strip_prefix(*reserved).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        }) {
            return Err(format!("route path `{}` is taken: {reserved} belongs to the native endpoints", self.path));
        }
        if self.path.contains(['?', '#', '*']) {
            return Err(format!("route path `{}` is a plain prefix: no `?`, `#` or `*`", self.path));
        }
        if self.weight == 0 {
            return Err(format!("route `{}` has weight 0; leave it out, or give it 1 or more", self.path));
        }
        if let Some(host) = &self.host
            && (host.is_empty() || host.contains(['/', ':']))
        {
            return Err(format!("route host `{host}` must be a bare host name, without scheme, port or path"));
        }
        let trimmed = self.path.trim_end_matches('/');
        Ok(Route {
            host: self.host.map(|host| host.to_ascii_lowercase()),
            path: if trimmed.is_empty() { "/".to_owned() } else { trimmed.to_owned() },
            component: self.component,
            weight: self.weight,
            reuse: self.reuse,
        })
    }
}

impl RawLimits {
    fn check(self) -> Result<Limits, String> {
        let limits = Limits {
            memory: self.memory.unwrap_or(DEFAULT_MEMORY),
            deadline_ms: self.deadline_ms.unwrap_or(DEFAULT_DEADLINE_MS),
            body: self.body.unwrap_or(DEFAULT_BODY),
            instances: self.instances.unwrap_or(DEFAULT_INSTANCES),
        };
        if limits.instances == 0 {
            return Err("[limits] instances must be at least 1".into());
        }
        if limits.deadline_ms == 0 || limits.deadline_ms > DEADLINE_MS_MAX {
            return Err(format!("[limits] deadline_ms must be between 1 and {DEADLINE_MS_MAX}"));
        }
        if limits.memory.0 < 1 << 16 || limits.memory > MEMORY_MAX {
            return Err(format!("[limits] memory must be between 64KiB, one Wasm page, and {MEMORY_MAX}"));
        }
        Ok(limits)
    }
}

/// `scheme://host[:port]`, lower case, nothing after it.
fn check_origin(origin: &str) -> Result<String, String> {
    let valid = origin
        .strip_prefix("https://")
        .or_else(|| origin.strip_prefix("http://"))
        .is_some_and(|authority| !authority.is_empty() && !authority.contains(['/', '?', '#', '@', '*']));
    if valid {
        Ok(origin.to_ascii_lowercase())
    } else {
        Err(format!("[outbound] allow: `{origin}` must be scheme and host, such as `https://api.example.com`"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Result<AppManifest, String> {
        AppManifest::parse(text, Path::new("/apps/x/headland.app.toml")).map_err(|error| error.to_string())
    }

    #[test]
    fn a_whole_manifest_is_read() {
        let manifest = check(
            r#"
            name = "search"
            [[route]]
            host = "Search.Example"
            path = "/search/"
            component = "dist/search.wasm"
            reuse = true
            [models]
            allow = ["all-minilm-l6-v2", "digits:2"]
            weight = 300
            [outbound]
            allow = ["https://API.example.com"]
            [limits]
            memory = "32MiB"
            deadline_ms = 500
            [env]
            MODEL = "all-minilm-l6-v2"
            "#,
        )
        .unwrap();
        assert_eq!(manifest.routes[0].path, "/search");
        assert_eq!(manifest.routes[0].host.as_deref(), Some("search.example"));
        assert_eq!(manifest.routes[0].component, "dist/search.wasm");
        assert!(manifest.routes[0].reuse);
        assert_eq!(manifest.component_file("dist/search.wasm"), Path::new("/apps/x/dist/search.wasm"));
        assert_eq!(manifest.component_file("/elsewhere.wasm"), Path::new("/elsewhere.wasm"));
        assert_eq!(
            manifest.limits,
            Limits { memory: ByteSize(32 << 20), deadline_ms: 500, body: DEFAULT_BODY, instances: DEFAULT_INSTANCES }
        );
        assert_eq!((manifest.outbound, manifest.model_weight), (vec!["https://api.example.com".to_owned()], 300));
    }

    #[test]
    fn nothing_is_allowed_unless_said() {
        let manifest = check("name = 'x'\n[[route]]\npath = '/'\ncomponent = 'x.wasm'").unwrap();
        assert!(manifest.models.is_empty() && manifest.outbound.is_empty() && manifest.env.is_empty());
        assert!(!manifest.routes[0].reuse);
    }

    #[test]
    fn values_that_make_no_sense_say_what_to_write() {
        let route = "name = 'x'\n[[route]]\npath = '/'\ncomponent = 'x.wasm'\n";
        for (text, expected) in [
            ("name = 'x'\nroute = []".to_owned(), "at least one [[route]]"),
            ("name = 'x'\n[[route]]\npath = 'a'\ncomponent = 'x'".to_owned(), "must begin with `/`"),
            (format!("{route}weight = 0"), "weight 0"),
            ("name = 'x'\n[[route]]\npath = '/v2/x'\ncomponent = 'x'".to_owned(), "belongs to the native endpoints"),
            (format!("{route}[limits]\nmemory = '5GiB'"), "memory must be between"),
            (format!("{route}[outbound]\nallow = ['example.com']"), "must be scheme and host"),
            (format!("{route}[models]\nweight = 0"), "[models] weight must be between 1 and 10000"),
            (format!("{route}[models]\nallow = ['a/b']"), "[models] allow: `a/b` is not a model name"),
            (format!("{route}[limits]\ndeadline_ms = 0"), "deadline_ms must be between"),
            (format!("{route}[limits]\nmemroy = '1MiB'"), "did you mean `memory`?"),
        ] {
            let error = check(&text).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
