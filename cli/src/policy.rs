//! `headland policy`: what a trust policy says, what it would decide, having a gateway read it again, and a fleet plan by it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use headland_fleet::{PolicyRecord, PolicyRule};
use headland_package::oci::SIGNATURE_BYTES_MAX;
use headland_package::{ModelName, folder, strict_toml};
use headland_trust::policy::{Rule, Stated, Verdict};
use headland_trust::{Artifact, Decision, Policy};
use serde_json::Value;
use ureq::http::Method;

use crate::app_package::AppPackage;
use crate::args::{Target, TestPolicy};
use crate::client::{Gateway, items, print, table, text};
use crate::signing::{model_signature, read_small};

/// The exit status when nothing could be decided, as for a command line that makes no sense.
const NOT_JUDGED: u8 = 2;
/// Where a model says its name and version.
const MODEL_MANIFEST: &str = "headland.model.toml";

/// `headland policy check`.
pub fn check(file: &Path, as_json: bool) -> Result<()> {
    let explanation = Policy::read(file)?.explain();
    print(as_json, &serde_json::to_value(&explanation)?, |_| explanation.to_string())
}

/// `headland policy test`. The exit status is the verdict.
pub fn test(options: &TestPolicy) -> ExitCode {
    match decide(options).and_then(|decision| say(decision, options.json)) {
        Ok(Verdict::Admitted | Verdict::AdmittedWithWarning) => ExitCode::SUCCESS,
        Ok(Verdict::Denied) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("headland: {error:#}");
            ExitCode::from(NOT_JUDGED)
        }
    }
}

/// `headland policy reload`.
pub fn reload(target: &Target) -> Result<()> {
    let answer = Gateway::open(target)?.send(Method::POST, "/admin/v1/policy/reload", None)?;
    print(target.json, &answer, |answer| {
        let unloaded = items(&answer["unloaded"])
            .map(|one| format!("unloaded {}: {}\n", text(one, "artifact"), text(one, "reason")));
        let unloaded: String = unloaded.collect();
        format!("the gateway has read its policy again\n{unloaded}")
    })
}

/// `headland policy set`.
pub fn set(file: &Path, target: &Target) -> Result<()> {
    let record = serde_json::to_value(record(&Policy::read(file)?))?;
    let answer = Gateway::open(target)?.send(Method::PUT, "/admin/v1/policy/fleet", Some(&record))?;
    print(target.json, &answer, |answer| {
        let rules = items(&answer["rules"]).count();
        format!("plans are made by this policy now ({rules} rules); each PoP goes on judging by its own\n")
    })
}

/// `headland policy show`.
pub fn show(target: &Target) -> Result<()> {
    let answer = Gateway::open(target)?.get("/admin/v1/policy/fleet")?;
    print(target.json, &answer, |answer| {
        let list = |value: &Value| match value.is_null() {
            true => "any".to_owned(),
            false => items(value).filter_map(Value::as_str).collect::<Vec<_>>().join(", "),
        };
        let rows = items(&answer["rules"]).map(|rule| {
            let admits = if rule["admits"] == true { "yes" } else { "nothing" };
            [
                text(rule, "name"),
                text(rule, "artifact"),
                admits.to_owned(),
                list(&rule["regions"]),
                list(&rule["accelerators"]),
            ]
        });
        table(["RULE", "ABOUT", "ADMITS", "REGIONS", "DEVICES"], rows)
    })
}

/// What of a policy a fleet's plans are made by.
pub fn record(policy: &Policy) -> PolicyRecord {
    let rule = |rule: &Rule| PolicyRule {
        name: rule.name().to_owned(),
        artifact: rule.artifact().to_owned(),
        admits: rule.admits(),
        regions: rule.residency().regions.clone(),
        accelerators: rule.residency().accelerators.clone(),
    };
    PolicyRecord { rules: policy.rules().iter().map(rule).collect() }
}

fn say(decision: Decision, as_json: bool) -> Result<Verdict> {
    print(as_json, &serde_json::to_value(&decision)?, |_| decision.to_string())?;
    Ok(decision.verdict)
}

fn decide(options: &TestPolicy) -> Result<Decision> {
    let policy = Policy::read(&options.policy)?;
    let package = &options.package;
    if package.is_dir() {
        model(&policy, options)
    } else if package.extension().is_some_and(|extension| extension == "toml") {
        app(&policy, options)
    } else {
        bail!("{} is neither a model's folder nor an app's headland.app.toml", package.display())
    }
}

fn model(policy: &Policy, options: &TestPolicy) -> Result<Decision> {
    let files: BTreeMap<String, Bytes> =
        folder::open(&options.package)?.iter().map(|(path, bytes)| (path.to_owned(), bytes.clone())).collect();
    let stated = match files.get(MODEL_MANIFEST) {
        Some(manifest) => strict_toml::parse(MODEL_MANIFEST, &String::from_utf8_lossy(manifest))?,
        None => Stated::default(),
    };
    let name: ModelName = match options.name.clone().or(stated.name) {
        Some(name) => name.parse()?,
        None => folder_name(&options.package)?,
    };
    let version = options.version.clone().or(stated.version).unwrap_or_default();
    let signatures = signatures(options, model_signature(&options.package))?;
    Ok(policy.test_model(&Artifact::model(&name, &version), &files, &signatures, SystemTime::now()))
}

fn folder_name(folder: &Path) -> Result<ModelName> {
    let folder = folder.canonicalize()?;
    let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    name.parse().with_context(|| format!("the folder {} gives no usable name; give --name", folder.display()))
}

fn app(policy: &Policy, options: &TestPolicy) -> Result<Decision> {
    let app = AppPackage::read(&options.package, &options.version.clone().unwrap_or_default())?;
    let name = match &options.name {
        Some(name) => name.parse()?,
        None => app.name.clone(),
    };
    let signatures = signatures(options, AppPackage::signature_path(&options.package))?;
    Ok(policy.test_app(&Artifact::app(&name, &app.version), &app.packed.manifest, &signatures, SystemTime::now()))
}

/// The signatures that are named, or the usual one, if it is there.
fn signatures(options: &TestPolicy, usual: PathBuf) -> Result<Vec<Vec<u8>>> {
    let usual = usual.exists().then_some(usual);
    let named = if options.signature.is_empty() { usual.as_slice() } else { &options.signature };
    named.iter().map(|path| read_small(path, SIGNATURE_BYTES_MAX)).collect()
}
