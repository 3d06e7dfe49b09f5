//! How near each server's vectors come to those of raw `session.run` in f32, which is what FastAPI gives out.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use headland_load::Client;
use serde_json::Value;

use super::{ACCURACY, PEERS, Serving, any_length, texts};
use crate::Setup;
use headland_report::{Report, Section};

const SAMPLES: usize = 64;
/// Serves what raw `session.run` gives.
const REFERENCE: &str = PEERS[2];

pub fn measure(serving: &Serving, setup: &Setup, report: &mut Report) -> Result<()> {
    let reference = serving.all().find(|(name, _)| *name == REFERENCE).context("the reference")?;
    let expected = vectors(setup, reference.1.address)?;
    let mut section = Section::new(ACCURACY, "1 is the same direction");
    for (name, server) in serving.all() {
        let got = vectors(setup, server.address).with_context(|| format!("asking {name}"))?;
        let cosines = expected.iter().zip(&got).map(|(expected, got)| cosine(expected, got));
        section.add(name, cosines.fold(1.0, f64::min));
    }
    report.push(section);
    Ok(())
}

/// The vectors of the first texts of the seed.
fn vectors(setup: &Setup, address: SocketAddr) -> Result<Vec<Vec<f64>>> {
    let mut source = any_length(texts(setup)?);
    let mut client = Client::connect(address)?;
    let mut vectors = Vec::with_capacity(SAMPLES);
    for _ in 0..SAMPLES {
        let mut asked = Vec::new();
        source(&mut asked);
        let (status, body) = client.ask(&asked)?;
        ensure!(status == 200, "status {status}: {}", String::from_utf8_lossy(body));
        let answer: Value = serde_json::from_slice(body)?;
        let vector = answer["data"][0]["embedding"].as_array().context("no embedding")?;
        vectors.push(vector.iter().filter_map(Value::as_f64).collect());
    }
    Ok(vectors)
}

fn cosine(a: &[f64], b: &[f64]) -> f64 {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    if a.len() != b.len() { f64::NAN } else { dot(a, b) / (dot(a, a) * dot(b, b)).sqrt() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cosine_is_of_direction_alone_and_of_equal_lengths_alone() {
        assert!((cosine(&[1.0, 2.0], &[2.0, 4.0]) - 1.0).abs() < 1e-12);
        assert!(cosine(&[1.0, 0.0], &[0.0, 3.0]).abs() < 1e-12);
        assert!(cosine(&[1.0], &[1.0, 2.0]).is_nan());
    }
}
