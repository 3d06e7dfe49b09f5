//! `headland model verify`: yes with the signer's name, or no with the first thing that is wrong.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::{Context, Error, Result, bail};
use headland_trust::bundle::BUNDLE_BYTES_MAX;
use headland_trust::certificate::CertificateError;
use headland_trust::contents::Folder;
use headland_trust::oms::{self, Verdict, VerifyOptions};
use headland_trust::{Authority, VerifyError};
use serde_json::json;

use super::authority::authority;
use super::paths;
use super::progress::{self, Progress};
use super::read_small;
use crate::args::VerifyModel;
use crate::client::{print, size};

/// The exit status when nothing could be judged, as for a command line that makes no sense.
const NOT_JUDGED: u8 = 2;

/// What is judged, and by what.
struct Case<'a> {
    model: &'a Path,
    signature: PathBuf,
    authority: Authority,
    options: VerifyOptions,
}

/// A model that verifies.
struct Verified {
    verdict: Verdict,
    bytes: u64,
}

/// Verifies the model and says what came of it. The exit status is the verdict.
pub fn verify_model(options: &VerifyModel) -> ExitCode {
    let case = match Case::new(options) {
        Ok(case) => case,
        Err(error) => return not_judged(error),
    };
    match case.judge() {
        Ok(verified) => case.say_yes(&verified, options.json).map_or_else(not_judged, |()| ExitCode::SUCCESS),
        Err(refusal) => case.say_no(&refusal, options.json).map_or_else(not_judged, |()| ExitCode::FAILURE),
    }
}

fn not_judged(error: Error) -> ExitCode {
    eprintln!("headland: {error:#}");
    ExitCode::from(NOT_JUDGED)
}

impl<'a> Case<'a> {
    fn new(options: &'a VerifyModel) -> Result<Self> {
        let model = &options.model;
        if !model.exists() {
            bail!("there is no model at {}", model.display());
        }
        let signature = options.signature.clone().unwrap_or_else(|| paths::model_signature(model));
        let judged = VerifyOptions {
            ignore_paths: paths::ignored(model, &signature, &options.ignore_paths)?,
            ignore_unsigned: options.ignore_unsigned_files,
            now: SystemTime::now(),
        };
        Ok(Case { model, signature, authority: authority(options)?, options: judged })
    }

    fn judge(&self) -> Result<Verified> {
        if !self.signature.exists() {
            bail!("there is no signature {}; name it with --signature", self.signature.display());
        }
        let bundle = read_small(&self.signature, BUNDLE_BYTES_MAX as u64)?;
        let folder = Folder::open(self.model).context("the model cannot be read")?;
        let (folder, progress) = Progress::watch(folder);
        let verdict = oms::verify(&bundle, &folder, &self.authority, &self.options)?;
        drop(progress);
        Ok(Verified { bytes: progress::bytes_of(&folder, &verdict.signed), verdict })
    }

    fn say_yes(&self, Verified { verdict, bytes }: &Verified, as_json: bool) -> Result<()> {
        let unsigned: Vec<&String> = verdict.unsigned.iter().filter(|path| !self.is_signature(path)).collect();
        let said = json!({
            "model": self.model, "signature": self.signature, "verified": true, "signer": verdict.signer,
            "files": verdict.signed, "unsigned": unsigned, "bytes": bytes,
        });
        print(as_json, &said, |_| {
            let (model, count, size) = (self.model.display(), verdict.signed.len(), size(*bytes));
            let mut text = format!("{model} is signed by {}\n{count} file(s), {size}, as signed\n", verdict.signer);
            for path in &unsigned {
                text += &format!("not signed, and ignored: {}\n", path.escape_debug());
            }
            text
        })
    }

    fn say_no(&self, refusal: &Error, as_json: bool) -> Result<()> {
        if as_json {
            let (model, signature, reason) = (self.model, &self.signature, format!("{refusal:#}"));
            let said = json!({ "model": model, "signature": signature, "verified": false, "reason": reason });
            return print(true, &said, |_| String::new());
        }
        eprintln!("headland: {} does not verify: {refusal:#}", self.model.display());
        if let Some(advice) = refusal.downcast_ref().and_then(advice) {
            eprintln!("{advice}");
        }
        Ok(())
    }

    fn is_signature(&self, path: &str) -> bool {
        self.model.join(path) == self.signature
    }
}

/// What to do about it, where the reason alone does not say.
fn advice(error: &VerifyError) -> Option<&'static str> {
    match error {
        VerifyError::Unsigned(_) => {
            Some("Remove it, or accept it: --ignore-paths for this file, --ignore-unsigned-files for all.")
        }
        VerifyError::Missing(_) | VerifyError::Digest { .. } | VerifyError::Shards { .. } => {
            Some("Do not use the model: get it again from whoever signed it, or ask for a new signature.")
        }
        VerifyError::OtherKey { .. } | VerifyError::Signature(_) => {
            Some("Is it the right key? If so, somebody else has signed this, or has changed it.")
        }
        VerifyError::Method { .. } => {
            Some("Verify it as it is signed: --key, --certificate-chain, or --identity with --identity-provider.")
        }
        VerifyError::Certificate(CertificateError::Expired { .. }) => {
            Some("Ask for a signature with a certificate that is valid.")
        }
        _ => None,
    }
}
