//! Models of the Hugging Face hub. `hf-hub` knows its addresses, settings and tokens; the bytes come by our own transfer,
//! which continues, checks digests, and writes nowhere but into the output.

mod choice;

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, anyhow, bail};
use headland_package::Sha256Digest;
use headland_package::folder::{FILES_MAX, SIGNATURE};
use headland_package::oci::check_path;
use hf_hub::api::sync::{Api, ApiBuilder, ApiRepo};
use hf_hub::{Cache, Repo, RepoType};
use serde::Deserialize;
use ureq::http::header;

use crate::args::PullModel;
use crate::client::size;
use crate::pull::{Pulled, Staging};
use crate::transfer::download::{Wanted, fetch};
use crate::transfer::{AT_ONCE, Failure, Progress, Retries, Stop, agent, in_parallel};

/// The longest description of a repository that is read, in bytes.
const DESCRIPTION_BYTES_MAX: u64 = 32 << 20;
const DEFAULT_REVISION: &str = "main";
const DEFAULT_ENDPOINT: &str = "https://huggingface.co";

/// A repository as the hub describes it with `?blobs=true`.
#[derive(Deserialize)]
struct Description {
    /// The commit.
    sha: String,
    siblings: Vec<Sibling>,
}

/// One file. Mirrors may leave out all but the name.
#[derive(Clone, Deserialize)]
struct Sibling {
    rfilename: String,
    size: Option<u64>,
    lfs: Option<Large>,
}

/// What the hub knows of a large file.
#[derive(Clone, Deserialize)]
struct Large {
    sha256: Option<String>,
    size: Option<u64>,
}

/// Pulls `OWNER/NAME[@REVISION]`.
pub fn pull(source: &str, options: &PullModel) -> Result<Pulled> {
    let (id, revision) = parse(source)?;
    let token = token();
    let api = api(token.clone())?;
    let stop = Stop::default();
    let asked = repo(&api, id, revision);
    let description = Retries::new(&stop).run(|| describe(&asked, token.is_some()))?;
    if !description.sha.bytes().all(|byte| byte.is_ascii_alphanumeric()) || description.sha.is_empty() {
        bail!("the hub named no usable commit");
    }
    let siblings = chosen(description.siblings, &options.include)?;
    let name = id.rsplit('/').next().unwrap_or(id);
    let output = options.output.clone().unwrap_or_else(|| PathBuf::from(name));
    let staging = Staging::open(&output, &format!("{id} {} {:?}", description.sha, options.include))?;
    // The commit from here on: a branch may move between two files.
    let commit = repo(&api, id, &description.sha);
    let bytes_fetched = fetch_files(&commit, &siblings, token.as_deref(), &staging, &stop)?;
    let signed = siblings.iter().any(|sibling| sibling.rfilename == SIGNATURE);
    staging.finish()?;
    Ok(Pulled { output, revision: description.sha, files: siblings.len(), bytes_fetched, signed })
}

/// `OWNER/NAME[@REVISION]`.
fn parse(source: &str) -> Result<(&str, &str)> {
    let (id, revision) = source.split_once('@').unwrap_or((source, DEFAULT_REVISION));
    let plain = |part: &str| {
        let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        part.bytes().all(known) && part.starts_with(|first: char| first.is_ascii_alphanumeric())
    };
    if id.split('/').count() > 2 || !id.split('/').all(plain) || !revision.split('/').all(plain) {
        bail!("`{source}` is no model of the hub; write OWNER/NAME or OWNER/NAME@REVISION");
    }
    Ok((id, revision))
}

/// `HF_TOKEN`, or what logging in left.
fn token() -> Option<String> {
    let given = std::env::var("HF_TOKEN").ok().map(|token| token.trim().to_owned());
    given.filter(|token| !token.is_empty()).or_else(|| cache()?.token())
}

fn cache() -> Option<Cache> {
    let set = |variable| std::env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = set("HF_HOME").or_else(|| Some(set("HOME")?.join(".cache/huggingface")))?;
    Some(Cache::new(home.join("hub")))
}

fn api(token: Option<String>) -> Result<Api> {
    let endpoint = std::env::var("HF_ENDPOINT").ok().filter(|endpoint| !endpoint.is_empty());
    let endpoint = endpoint.unwrap_or_else(|| DEFAULT_ENDPOINT.to_owned());
    let server = crate::client::Server::parse(&endpoint).context("HF_ENDPOINT")?;
    if token.is_some() && !server.is_private() {
        bail!("the hub's token would go to {endpoint} unencrypted; use https://, or unset HF_TOKEN and log out");
    }
    // Nothing of the cache is used: what is fetched goes into the output.
    let builder = ApiBuilder::from_cache(cache().unwrap_or_else(|| Cache::new(PathBuf::new())));
    builder.with_endpoint(server.url()).with_token(token).with_progress(false).build().context("the hub's client")
}

fn repo(api: &Api, id: &str, revision: &str) -> ApiRepo {
    api.repo(Repo::with_revision(id.to_owned(), RepoType::Model, revision.to_owned()))
}

fn describe(repo: &ApiRepo, has_token: bool) -> Result<Description, Failure> {
    let mut answer = repo
        .info_request()
        .query("blobs", "true")
        .config()
        .http_status_as_error(false)
        .build()
        .call()
        .map_err(Failure::of_http)?;
    let status = answer.status();
    if !status.is_success() {
        return Err(Failure::of_status(status, answer.headers(), refused(status.as_u16(), has_token)));
    }
    let body = answer.body_mut().with_config().limit(DESCRIPTION_BYTES_MAX).read_to_vec().map_err(Failure::of_http)?;
    let description = serde_json::from_slice(&body).context("the hub's answer is no description of a model")?;
    Ok(description)
}

fn refused(status: u16, has_token: bool) -> anyhow::Error {
    match status {
        401 | 403 if has_token => anyhow!("the hub answered {status}: your token may not read this model"),
        401 | 403 => anyhow!("the hub answered {status}: no such model, or one that needs a token in HF_TOKEN"),
        404 => anyhow!("the hub answered 404: no such model or revision"),
        _ => anyhow!("the hub answered {status}"),
    }
}

/// The files to fetch, their names checked.
fn chosen(siblings: Vec<Sibling>, include: &[String]) -> Result<Vec<Sibling>> {
    let names: Vec<&str> = siblings.iter().map(|sibling| sibling.rfilename.as_str()).collect();
    let chosen = choice::choose(&names, include);
    if chosen.is_empty() {
        bail!("there is nothing to fetch; its files are: {}", shortened(&names));
    }
    if chosen.len() > FILES_MAX {
        bail!("{} files; a model has at most {FILES_MAX}. Choose some with --include", chosen.len());
    }
    let chosen: Vec<Sibling> =
        siblings.iter().filter(|sibling| chosen.contains(&sibling.rfilename.as_str())).cloned().collect();
    for sibling in &chosen {
        let name = &sibling.rfilename;
        check_path(name).with_context(|| format!("file path `{}`", name.escape_debug()))?;
    }
    Ok(chosen)
}

fn shortened(names: &[&str]) -> String {
    const SHOWN_MAX: usize = 20;
    let mut shown = names.iter().take(SHOWN_MAX).map(|name| name.escape_debug().to_string()).collect::<Vec<_>>();
    if names.len() > SHOWN_MAX {
        shown.push("...".to_owned());
    }
    shown.join(", ")
}

impl Sibling {
    fn size(&self) -> Option<u64> {
        self.lfs.as_ref().and_then(|lfs| lfs.size).or(self.size)
    }

    /// The digest of a large file; small ones have none but git's.
    fn digest(&self) -> Option<Sha256Digest> {
        format!("sha256:{}", self.lfs.as_ref()?.sha256.as_ref()?).parse().ok()
    }
}

fn fetch_files(repo: &ApiRepo, files: &[Sibling], token: Option<&str>, staging: &Staging, stop: &Stop) -> Result<u64> {
    let total = files.iter().filter_map(Sibling::size).fold(0, u64::saturating_add);
    let progress = Progress::new("fetched", total);
    let (agent, fetched) = (agent(), Mutex::new(0));
    let result = in_parallel(files, AT_ONCE, stop, |file| {
        let name = &file.rfilename;
        let url = repo.url(&choice::url_path(name));
        let part = staging.part(name);
        let wanted = Wanted { name, part: &part, size: file.size(), digest: file.digest() };
        let bytes = fetch(&wanted, stop, &mut progress.file(), |offset| {
            let mut request = agent.get(&url);
            if offset > 0 {
                request = request.header(header::RANGE, format!("bytes={offset}-"));
            }
            if let Some(token) = token {
                request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
            }
            let answer = request.call().map_err(Failure::of_http)?;
            match answer.status().as_u16() {
                status @ (401 | 403 | 404) => Err(Failure::Final(refused(status, token.is_some()))),
                _ => Ok(answer),
            }
        })?;
        staging.keep(name)?;
        *fetched.lock().unwrap_or_else(PoisonError::into_inner) += bytes;
        progress.say(&format!("  fetched {name}, {}", file.size().map_or_else(|| "size unknown".to_owned(), size)));
        Ok(())
    });
    progress.finish();
    result?;
    Ok(fetched.into_inner().unwrap_or_else(PoisonError::into_inner))
}
