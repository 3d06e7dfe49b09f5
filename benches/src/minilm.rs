//! MiniLM over the route all servers have, `POST /v1/embeddings`: ours against raw `session.run` and the peers, on texts
//! that all differ.

mod accuracy;

use anyhow::Result;
use headland_load::{Texts, request};

use crate::Setup;
use crate::loads::{Contender, Latencies, Source, Turn, in_turn};
use crate::peers::{self, MODEL, Raw};
use crate::servers::{self, Headland, Server};
use headland_report::{Curve, Panel, Plot, Report, Section};

/// Tokens of a short text.
pub const TOKENS: usize = 13;
/// Texts in a request that has many.
const TEXTS: usize = 32;
/// Seed of all texts.
const SEED: u64 = 4;
pub const RAW: &str = "raw session.run";
pub const F32: &str = "headland, f32";
pub const INT8: &str = "headland, int8";
pub const PEERS: [&str; 3] = ["text-embeddings-inference", "infinity", "FastAPI + onnxruntime"];
pub const MANY: &str = "MiniLM, 13-token texts, 64 connections";
pub const ONE_P50: &str = "MiniLM, 13-token texts, 1 connection: p50";
pub const ONE_P99: &str = "MiniLM, 13-token texts, 1 connection: p99";
pub const LISTS: &str = "MiniLM, 32 texts a request, 4 connections";
pub const MIXED: &str = "MiniLM, 8 to 256 tokens, 32 connections";
pub const RESIDENT: &str = "memory after serving MiniLM";
pub const ACCURACY: &str = "MiniLM: least cosine to raw session.run over 64 texts of 8 to 256 tokens";
const CONCURRENCY: [usize; 8] = [1, 2, 4, 8, 16, 32, 64, 128];

/// Everything that serves MiniLM, all up at once: idle ones take nothing.
pub struct Serving {
    ours: Vec<(&'static str, Headland)>,
    peers: Vec<(&'static str, Server)>,
}

impl Serving {
    fn start(setup: &Setup, report: &mut Report) -> Result<Self> {
        let mut ours = vec![(F32, headland(setup)?)];
        let folder = servers::package(setup, "minilm-int8", &servers::minilm(setup), "precision = \"int8\"\n")?;
        match servers::headland(setup, &[(MODEL, folder)]) {
            Ok(int8) => ours.push((INT8, int8)),
            Err(error) => report.miss(format!("{INT8}: {error:#}")),
        }
        let mut peers = Vec::new();
        for (name, server) in
            PEERS.into_iter().zip([peers::tei(setup)?, peers::infinity(setup)?, Some(peers::fastapi(setup)?)])
        {
            match server {
                Some(server) => peers.push((name, server)),
                None => report.miss(format!("{name}: it is not installed")),
            }
        }
        Ok(Serving { ours, peers })
    }

    fn all(&self) -> impl Iterator<Item = (&'static str, &Server)> {
        let ours = self.ours.iter().map(|(name, headland)| (*name, &headland.server));
        ours.chain(self.peers.iter().map(|(name, server)| (*name, server)))
    }

    /// Every server with a source of its own, all from the same seed.
    fn contenders(&self, setup: &Setup, source: fn(Texts) -> Source) -> Result<Vec<Contender>> {
        let texts = texts(setup)?;
        Ok(self.all().map(|(name, server)| Contender::new(name, server.address, source(texts.clone()))).collect())
    }
}

/// A gateway with MiniLM and nothing else.
pub fn headland(setup: &Setup) -> Result<Headland> {
    servers::headland(setup, &[(MODEL, servers::minilm(setup))])
}

pub fn texts(setup: &Setup) -> Result<Texts> {
    Texts::open(&servers::minilm(setup).join("vocab.txt"), SEED)
}

pub fn measure(setup: &Setup, report: &mut Report) -> Result<()> {
    let serving = Serving::start(setup, report)?;
    let mut raw = Raw::start(setup, &peers::minilm_onnx(setup)?, None)?;
    accuracy::measure(&serving, setup, report)?;
    many(setup, report, &serving, &mut raw)?;
    one(setup, report, &serving, &mut raw)?;
    lists(setup, report, &serving, &mut raw)?;
    mixed(setup, report, &serving)?;
    concurrency(setup, report, &serving)?;
    resident(report, &serving)
}

fn many(setup: &Setup, report: &mut Report, serving: &Serving, raw: &mut Raw) -> Result<()> {
    let mut rates = Section::new(MANY, "requests/s, more is better");
    let mut p99 = Section::new("MiniLM, 13-token texts, 64 connections: p99", "microseconds, less is better");
    let mut client = Section::new("MiniLM: the client's own processor time a request", "microseconds");
    let mut latencies = Latencies::default();
    in_turn(setup, &mut serving.contenders(setup, short)?, 64, |turn| {
        let Turn::Of(name, outcome) = turn else {
            rates.add(RAW, raw.run(setup, TEXTS, TOKENS)?.rate * TEXTS as f64);
            return Ok(());
        };
        rates.add(name, outcome.rate());
        p99.add(name, outcome.latency_us(0.99));
        client.add(name, outcome.client_us());
        latencies.add(name, outcome)
    })?;
    report.push(rates);
    report.push(p99);
    report.push(client);
    report.plots.push(distribution("minilm-latency-64", "MiniLM, 13-token texts, 64 connections", &latencies));
    Ok(())
}

fn one(setup: &Setup, report: &mut Report, serving: &Serving, raw: &mut Raw) -> Result<()> {
    let mut p50 = Section::new(ONE_P50, "microseconds, less is better");
    let mut p99 = Section::new(ONE_P99, "microseconds, less is better");
    let mut latencies = Latencies::default();
    in_turn(setup, &mut serving.contenders(setup, short)?, 1, |turn| {
        let Turn::Of(name, outcome) = turn else {
            let figures = raw.run(setup, 1, TOKENS)?;
            p50.add(RAW, figures.p50_us);
            p99.add(RAW, figures.p99_us);
            return Ok(());
        };
        p50.add(name, outcome.latency_us(0.5));
        p99.add(name, outcome.latency_us(0.99));
        latencies.add(name, outcome)
    })?;
    report.push(p50);
    report.push(p99);
    report.plots.push(distribution("minilm-latency-1", "MiniLM, 13-token texts, 1 connection", &latencies));
    Ok(())
}

fn lists(setup: &Setup, report: &mut Report, serving: &Serving, raw: &mut Raw) -> Result<()> {
    let mut rates = Section::new(LISTS, "requests/s, more is better");
    in_turn(setup, &mut serving.contenders(setup, list)?, 4, |turn| {
        match turn {
            Turn::Of(name, outcome) => rates.add(name, outcome.rate()),
            Turn::Round => rates.add(RAW, raw.run(setup, TEXTS, TOKENS)?.rate),
        }
        Ok(())
    })?;
    report.push(rates);
    Ok(())
}

fn mixed(setup: &Setup, report: &mut Report, serving: &Serving) -> Result<()> {
    let mut rates = Section::new(MIXED, "requests/s, more is better");
    in_turn(setup, &mut serving.contenders(setup, any_length)?, 32, |turn| {
        if let Turn::Of(name, outcome) = turn {
            rates.add(name, outcome.rate());
        }
        Ok(())
    })?;
    report.push(rates);
    Ok(())
}

/// Throughput against concurrency: once, every server at every number of connections.
fn concurrency(setup: &Setup, report: &mut Report, serving: &Serving) -> Result<()> {
    let mut contenders = serving.contenders(setup, short)?;
    let mut curves: Vec<Curve> =
        contenders.iter().map(|one| Curve { name: one.name.to_owned(), points: Vec::new() }).collect();
    for connections in CONCURRENCY {
        for (contender, curve) in contenders.iter_mut().zip(&mut curves) {
            let rate = contender.closed(connections, setup.window)?.rate();
            curve.points.push((connections as f64, rate));
        }
    }
    report.plots.push(Plot {
        file: "minilm-concurrency".to_owned(),
        panels: vec![Panel {
            title: "MiniLM, 13-token texts".to_owned(),
            x: "connections, one request each".to_owned(),
            y: "requests per second".to_owned(),
            x_log: true,
            curves,
            ..Panel::default()
        }],
    });
    Ok(())
}

fn resident(report: &mut Report, serving: &Serving) -> Result<()> {
    let mut section = Section::new(RESIDENT, "MB resident, less is better");
    let mut anonymous = Section::new("memory after serving MiniLM: without mapped files", "MB, less is better");
    for (name, server) in serving.all() {
        let resident = server.resident()?;
        section.add(name, resident.all);
        anonymous.add(name, resident.anonymous);
    }
    report.push(section);
    report.push(anonymous);
    Ok(())
}

fn distribution(file: &str, title: &str, latencies: &Latencies) -> Plot {
    Plot {
        file: file.to_owned(),
        panels: vec![Panel {
            title: title.to_owned(),
            x: "latency, milliseconds".to_owned(),
            y: "share of requests at or below".to_owned(),
            x_log: true,
            curves: latencies.curves(),
            ..Panel::default()
        }],
    }
}

/// One text of 13 tokens a request.
pub fn short(mut texts: Texts) -> Source {
    Box::new(move |out| embed(out, |body| texts.write(TOKENS, body)))
}

/// The same over the route that takes a deadline, in microseconds.
pub fn with_deadline(mut texts: Texts, deadline_us: u64) -> Source {
    Box::new(move |out| {
        let mut body = br#"{"inputs":[{"name":"text","shape":[1],"datatype":"BYTES","data":[""#.to_vec();
        texts.write(TOKENS, &mut body);
        let rest =
            format!(r#""]}}],"outputs":[{{"name":"sentence_embedding"}}],"parameters":{{"timeout":{deadline_us}}}}}"#);
        body.extend_from_slice(rest.as_bytes());
        request(out, "POST", &format!("/v2/models/{MODEL}/infer"), &[("content-type", "application/json")], &body);
    })
}

/// A list of 32 of them.
fn list(mut texts: Texts) -> Source {
    Box::new(move |out| {
        let mut body = format!(r#"{{"model":"{MODEL}","input":["#).into_bytes();
        for position in 0..TEXTS {
            body.extend_from_slice(if position == 0 { b"\"" } else { b",\"" });
            texts.write(TOKENS, &mut body);
            body.push(b'"');
        }
        body.extend_from_slice(b"]}");
        post(out, &body);
    })
}

/// One text of 8 to 256 tokens, log-uniform.
fn any_length(mut texts: Texts) -> Source {
    Box::new(move |out| {
        embed(out, |body| {
            let tokens = texts.length(8, 256);
            texts.write(tokens, body);
        });
    })
}

fn embed(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let mut body = format!(r#"{{"model":"{MODEL}","input":""#).into_bytes();
    write(&mut body);
    body.extend_from_slice(b"\"}");
    post(out, &body);
}

fn post(out: &mut Vec<u8>, body: &[u8]) {
    request(out, "POST", "/v1/embeddings", &[("content-type", "application/json")], body);
}
