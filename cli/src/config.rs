//! `headland.toml` and the command line, made into one checked configuration.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use headland_nn_core::Device;
use headland_package::{AppManifest, ByteSize, INSTANCES_MAX, ModelName, ModelVersion, strict_toml};
use serde::Deserialize;

use crate::args::UpOptions;

const DEFAULT_LISTEN: &str = "127.0.0.1:8080";
const DEFAULT_ADMIN_LISTEN: &str = "127.0.0.1:8081";

/// The longest queue a model may have.
const QUEUE_MAX: usize = 100_000;

/// What `headland up` runs.
#[derive(Debug)]
pub struct Config {
    pub listen: SocketAddr,
    pub admin_listen: SocketAddr,
    pub data_dir: PathBuf,
    /// The trust policy's file.
    pub policy: Option<PathBuf>,
    /// Where this gateway stands.
    pub region: Option<String>,
    /// Memory for models by device, in bytes.
    pub memory: BTreeMap<Device, u64>,
    /// Disk space for the registry, in bytes.
    pub registry_quota: Option<u64>,
    pub limits: LimitsConfig,
    pub models: Vec<ModelConfig>,
    pub apps: Vec<PathBuf>,
}

/// Limits an operator may set; what is absent keeps its default.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitsConfig {
    /// Largest request body on the native routes.
    pub body: Option<ByteSize>,
    /// Open connections.
    pub connections: Option<usize>,
    /// Guest instances alive at a time.
    pub instances: Option<u32>,
    /// How long to go on accepting after SIGTERM while `/v2/health/ready` says 503, for load balancers to notice.
    pub drain_delay_s: Option<u64>,
    /// How long a drain may take.
    pub drain_s: Option<u64>,
}

/// A model to load.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// The model's folder.
    pub path: PathBuf,
    /// Its name; the package's own, or else the folder's, when absent.
    pub name: Option<ModelName>,
    /// Its version; the package's own when absent.
    pub version: Option<ModelVersion>,
    /// Where to run it; what the package asks for, or else the CPU, when absent.
    #[serde(default, deserialize_with = "device")]
    pub device: Option<Device>,
    /// Executors to run it on.
    pub instances: Option<usize>,
    /// Requests that may wait for it.
    pub queue: Option<usize>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawConfig {
    listen: Option<SocketAddr>,
    admin_listen: Option<SocketAddr>,
    data_dir: Option<PathBuf>,
    region: Option<String>,
    #[serde(default)]
    trust: RawTrust,
    #[serde(default)]
    memory: BTreeMap<String, ByteSize>,
    #[serde(default)]
    registry: RawRegistry,
    #[serde(default)]
    limits: LimitsConfig,
    #[serde(default)]
    model: Vec<ModelConfig>,
    #[serde(default)]
    app: Vec<RawApp>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTrust {
    /// The trust policy's file, relative to this one.
    policy: Option<PathBuf>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRegistry {
    /// Disk space it may take.
    quota: Option<ByteSize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawApp {
    manifest: PathBuf,
}

fn device<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Device>, D::Error> {
    let name = String::deserialize(deserializer)?;
    name.parse().map(Some).map_err(serde::de::Error::custom)
}

impl Config {
    /// Reads the file, if one is named, and lays the options over it.
    pub fn load(options: &UpOptions) -> Result<Self> {
        let (raw, base) = match &options.config {
            Some(path) => (strict_toml::read(path)?, path.parent().unwrap_or(Path::new(".")).to_owned()),
            None => (RawConfig::default(), PathBuf::new()),
        };
        let RawConfig { listen, admin_listen, data_dir, region, trust, memory, registry, limits, model, app } = raw;
        let beside_file = |path: PathBuf| base.join(path);
        let mut models: Vec<ModelConfig> =
            model.into_iter().map(|model| ModelConfig { path: beside_file(model.path), ..model }).collect();
        for argument in &options.models {
            models.push(model_argument(argument)?);
        }
        let mut apps: Vec<PathBuf> = app.into_iter().map(|app| beside_file(app.manifest)).collect();
        apps.extend(options.apps.iter().cloned());
        let data_dir = options.data_dir.clone().or_else(|| data_dir.map(beside_file));
        let config = Config {
            listen: options.listen.or(listen).map_or_else(|| DEFAULT_LISTEN.parse(), Ok)?,
            admin_listen: options.admin_listen.or(admin_listen).map_or_else(|| DEFAULT_ADMIN_LISTEN.parse(), Ok)?,
            data_dir: data_dir.map_or_else(default_data_dir, Ok)?,
            policy: options.policy.clone().or_else(|| trust.policy.map(beside_file)),
            region: options.region.clone().or(region),
            memory: memory.into_iter().map(device_memory).collect::<Result<_>>()?,
            registry_quota: registry.quota.map(|quota| quota.0),
            limits,
            models,
            apps,
        };
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<()> {
        if self.listen == self.admin_listen && self.listen.port() != 0 {
            bail!("the data and the admin plane cannot both listen on {}; set --admin-listen", self.listen);
        }
        if self.limits.instances == Some(0) {
            bail!("[limits] instances must be at least 1");
        }
        if self.limits.connections == Some(0) {
            bail!("[limits] connections must be at least 1");
        }
        for model in &self.models {
            let (queue, instances) = (model.queue.unwrap_or(1), model.instances.unwrap_or(1));
            if !(1..=QUEUE_MAX).contains(&queue) || !(1..=INSTANCES_MAX).contains(&instances) {
                bail!(
                    "model {}: `queue` must be between 1 and {QUEUE_MAX}, `instances` between 1 and {INSTANCES_MAX}",
                    model.path.display()
                );
            }
        }
        Ok(())
    }
}

fn device_memory((device, bytes): (String, ByteSize)) -> Result<(Device, u64)> {
    Ok((device.parse().context("[memory] names a device by `cpu` or `cuda:N`")?, bytes.0))
}

/// `NAME=DIR` or `DIR`.
fn model_argument(argument: &str) -> Result<ModelConfig> {
    let (name, path) = match argument.split_once('=') {
        Some((name, path)) => (Some(name.parse().with_context(|| format!("--model {argument}"))?), path),
        None => (None, argument),
    };
    Ok(ModelConfig { path: path.into(), name, version: None, device: None, instances: None, queue: None })
}

/// Where data is kept unless said otherwise.
pub fn default_data_dir() -> Result<PathBuf> {
    if let Some(dir) = std::env::var_os("XDG_DATA_HOME").filter(|dir| !dir.is_empty()) {
        return Ok(PathBuf::from(dir).join("headland"));
    }
    match std::env::var_os("HOME").filter(|dir| !dir.is_empty()) {
        Some(home) => Ok(PathBuf::from(home).join(".local/share/headland")),
        None => bail!("there is no HOME to keep data in; set --data-dir"),
    }
}

/// `headland app check`.
pub fn check_app(manifest: &Path) -> Result<()> {
    let app = AppManifest::read(manifest)?;
    for route in &app.routes {
        let component = app.component_file(&route.component);
        if !component.is_file() {
            bail!("{}: component {} is not there; build it first", manifest.display(), component.display());
        }
    }
    println!("{}: app `{}` with {} route(s) is fine", manifest.display(), app.name, app.routes.len());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str, options: UpOptions) -> Result<Config> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("headland.toml");
        std::fs::write(&path, text)?;
        Config::load(&UpOptions { config: Some(path), ..options })
    }

    #[test]
    fn options_win_over_the_file_and_add_to_its_lists() {
        let options = UpOptions {
            listen: Some("127.0.0.1:9999".parse().unwrap()),
            models: vec!["b=/models/b".into(), "/models/c".into()],
            ..UpOptions::default()
        };
        let config = load(
            "listen = '127.0.0.1:1'\n[[model]]\npath = 'a'\ndevice = 'cuda:1'\n[[app]]\nmanifest = 'x/headland.app.toml'",
            options,
        )
        .unwrap();
        assert_eq!(config.listen.port(), 9999);
        assert_eq!(config.models.len(), 3);
        assert!(config.models[0].path.is_absolute() && config.apps[0].is_absolute());
        assert_eq!(config.models[0].device, Some(Device::Cuda(1)));
        assert_eq!(config.models[1].name.as_ref().unwrap().as_str(), "b");
        assert_eq!(config.models[2].name, None);
    }

    #[test]
    fn an_unknown_key_names_line_and_suggestion() {
        let error = load("[[model]]\npath = 'a'\ninstance = 2", UpOptions::default()).unwrap_err().to_string();
        assert!(error.contains(":3:1: unknown key `instance`; did you mean `instances`?"), "{error}");
    }

    #[test]
    fn an_unknown_device_says_what_to_write() {
        let error = load("[[model]]\npath = 'a'\ndevice = 'gpu'", UpOptions::default()).unwrap_err().to_string();
        assert!(error.contains("unknown device `gpu`; write `cpu`, `cuda` or `cuda:N`"), "{error}");
    }

    #[test]
    fn two_planes_on_one_address_are_refused() {
        let error = load("listen = '127.0.0.1:80'\nadmin_listen = '127.0.0.1:80'", UpOptions::default()).unwrap_err();
        assert!(error.to_string().contains("cannot both listen"), "{error}");
    }
}
