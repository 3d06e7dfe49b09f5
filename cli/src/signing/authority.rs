//! Whose signature `headland model verify` asks for.

use anyhow::{Context, Result, bail};
use headland_trust::{Authority, Certificate, IdentityRule, Matcher, PublicKey, TrustedRoot, Validity};

use super::{MATERIAL_BYTES_MAX, read_small};
use crate::args::VerifyModel;

/// The authority that the options name; clap sees to it that it is one.
pub fn authority(options: &VerifyModel) -> Result<Authority> {
    if let Some(path) = &options.key {
        let pem = read_small(path, MATERIAL_BYTES_MAX)?;
        let key = PublicKey::from_pem(&pem).map_err(|error| anyhow::anyhow!("{} {error}", path.display()))?;
        return Ok(Authority::Key(key));
    }
    if let (Some(identity), Some(provider)) = (&options.identity, &options.identity_provider) {
        let rule = IdentityRule { issuer: Matcher::exact(provider), subject: Matcher::exact(identity) };
        return Ok(Authority::Keyless { identities: vec![rule], trusted_root: trusted_root(options)? });
    }
    let mut roots = Vec::new();
    for path in &options.certificate_chain {
        let pem = read_small(path, MATERIAL_BYTES_MAX)?;
        roots.extend(Certificate::all_from_pem(&pem).with_context(|| path.display().to_string())?);
    }
    if roots.is_empty() {
        bail!("say whose signature counts: --key, --certificate-chain, or --identity with --identity-provider");
    }
    Ok(Authority::Certificate { roots, subject: None, validity: Validity::Now })
}

fn trusted_root(options: &VerifyModel) -> Result<TrustedRoot> {
    let Some(path) = &options.trusted_root else { return Ok(TrustedRoot::public_good()?) };
    let json = String::from_utf8(read_small(path, MATERIAL_BYTES_MAX)?).unwrap_or_default();
    TrustedRoot::from_json(&json).map_err(|error| anyhow::anyhow!("{} {error}", path.display()))
}
