//! `headland token`: makes, lists and revokes tokens in a data directory. A running gateway notices.

mod date;

use std::path::PathBuf;

use anyhow::{Result, bail};
use headland_access::{Scopes, TokenInfo, TokenStore, UnixTime};
use serde_json::json;

use crate::args::{TokenCommand, TokenPlace};
use crate::client::{print, table};
use crate::config;

/// Runs one of the commands.
pub fn run(command: TokenCommand) -> Result<()> {
    match command {
        TokenCommand::Create { name, scopes, expires, place } => {
            let Some(scopes) = Scopes::new(scopes) else { bail!("a token needs at least one --scope") };
            create(&name, scopes, expires.map(|time| UnixTime::now().plus(time)), &place)
        }
        TokenCommand::List(place) => list(&place),
        TokenCommand::Revoke { id, place } => revoke(&id, &place),
    }
}

fn create(name: &str, scopes: Scopes, expires: Option<UnixTime>, place: &TokenPlace) -> Result<()> {
    let created = open(place)?.create(name, scopes, expires)?;
    let mut said = serde_json::to_value(&created.info)?;
    said["token"] = created.secret.reveal().into();
    // The token alone on standard output, for `$(...)`.
    print(place.json, &said, |_| format!("{}\n", created.secret.reveal()))?;
    let TokenInfo { id, name, .. } = &created.info;
    eprintln!("token `{name}` ({id}), {}; expires: {}", words(&created.info), until(&created.info));
    eprintln!("Keep it now: it is not shown again.");
    Ok(())
}

fn list(place: &TokenPlace) -> Result<()> {
    let tokens = open(place)?.list();
    let rows = tokens.iter().map(|token| {
        let created = date::utc(token.created_unix_s.0);
        [token.id.clone(), token.name.clone(), words(token), created, until(token), format!("…{}", token.ends_with)]
    });
    print(place.json, &json!({ "tokens": tokens }), |_| {
        table(["ID", "NAME", "SCOPES", "CREATED", "EXPIRES", "ENDS WITH"], rows.clone())
    })
}

fn revoke(id: &str, place: &TokenPlace) -> Result<()> {
    let revoked = open(place)?.revoke(id)?;
    print(place.json, &json!({ "revoked": revoked }), |_| {
        format!("token `{}` ({}) is refused from now on\n", revoked.name, revoked.id)
    })
}

/// The tokens of a data directory that is there: one named by mistake would get tokens nobody asks for.
fn open(place: &TokenPlace) -> Result<TokenStore> {
    let dir: PathBuf = place.data_dir.clone().map_or_else(config::default_data_dir, Ok)?;
    if !dir.is_dir() {
        bail!("there is no data directory {}; start `headland up` first, or name it with --data-dir", dir.display());
    }
    Ok(TokenStore::open(&dir)?)
}

fn words(token: &TokenInfo) -> String {
    token.scopes.iter().map(|scope| scope.name()).collect::<Vec<_>>().join(", ")
}

fn until(token: &TokenInfo) -> String {
    match token.expires_unix_s {
        None => "never".to_owned(),
        Some(expires) if token.has_expired(UnixTime::now()) => format!("expired {}", date::utc(expires.0)),
        Some(expires) => date::utc(expires.0),
    }
}
