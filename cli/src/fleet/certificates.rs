//! Certificates that are renewed before they end: a member asks over the bus, a control plane that has the authority answers.
//!
//! Who asks shows that it holds the key of a certificate that is still good by sending the request over the peer plane's own
//! identity: the request is a signing request for the same key, and only the member whose current certificate has that key gets
//! a new one.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use futures_util::StreamExt;
use headland_control_store::{Bus, Key, Prefix};
use headland_fleet::subject;
use headland_identity::{FleetCa, Identity, MEMBER_VALIDITY, Member};
use serde::{Deserialize, Serialize};

/// How often a member looks whether its certificate is to be renewed.
const LOOK_EVERY: Duration = Duration::from_secs(600);
/// How long an answer may take.
const ANSWER_MAX: Duration = Duration::from_secs(10);

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    /// The certificate that is about to end, in PEM form.
    certificate: String,
    /// A signing request for the same key, in PEM form.
    request: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Answered {
    Certificate(String),
    Refused(String),
}

/// Renews `identity` whenever that is due.
pub async fn keep_fresh(identity: Arc<Identity>, bus: Arc<dyn Bus>) {
    loop {
        let now = SystemTime::now();
        if identity.renewal_due(now) {
            match renew(&identity, &*bus).await {
                Ok(()) => tracing::info!(member = %identity.member(), "the certificate was renewed"),
                Err(error) => {
                    let left = identity.not_after().duration_since(now).unwrap_or_default().as_secs() / 3600;
                    tracing::warn!(
                        hours_left = left,
                        "the certificate could not be renewed, and is tried again: {error:#}"
                    );
                }
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn renew(identity: &Identity, bus: &dyn Bus) -> Result<()> {
    let subject = Key::new(subject::CERTIFICATE, [identity.member().to_string()])?;
    let asked = Asked { certificate: identity.certificate()?, request: identity.csr()? };
    let answer = bus.request(&subject, serde_json::to_vec(&asked)?.into(), ANSWER_MAX).await?;
    match serde_json::from_slice(&answer).context("the answer is no certificate")? {
        Answered::Certificate(certificate) => Ok(identity.install(&certificate)?),
        Answered::Refused(why) => bail!("the control plane refuses: {why}"),
    }
}

/// Answers members that ask for a new certificate.
pub async fn answer(authority: FleetCa, bus: Arc<dyn Bus>) -> Result<()> {
    let mut asking = bus.subscribe(Prefix::kind(subject::CERTIFICATE)?).await?;
    while let Some(message) = asking.next().await {
        let answered = match issue(&authority, &message.payload, &message.subject) {
            Ok(certificate) => Answered::Certificate(certificate),
            Err(error) => {
                tracing::warn!(subject = %message.subject, "a certificate was refused: {error:#}");
                Answered::Refused(format!("{error:#}"))
            }
        };
        let payload = Bytes::from(serde_json::to_vec(&answered)?);
        if let Err(error) = bus.respond(&message, payload).await {
            tracing::debug!("a certificate was not delivered: {error}");
        }
    }
    Ok(())
}

fn issue(authority: &FleetCa, payload: &[u8], subject: &Key) -> Result<String> {
    let asked: Asked = serde_json::from_slice(payload).context("the request cannot be read")?;
    let now = SystemTime::now();
    let member: Member = authority.renewable(&asked.certificate, &asked.request, now)?;
    if subject.parts() != [member.to_string()] {
        bail!("{member} asks under another name");
    }
    let certificate = authority.issue(&member, &asked.request, MEMBER_VALIDITY, now)?;
    tracing::info!(%member, "a certificate was renewed");
    Ok(certificate)
}
