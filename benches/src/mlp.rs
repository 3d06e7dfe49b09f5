//! A 25 MB ONNX model out of a seed: through guests and natively, against raw `session.run`, one row and sixteen rows a
//! request; and what batching across 64 guests gives.

use std::path::PathBuf;

use anyhow::Result;
use headland_load::{Random, binary_infer, request};

use crate::Setup;
use crate::loads::{Contender, Source, Turn, in_turn};
use crate::peers::{self, Raw};
use crate::servers;
use headland_report::{Report, Section};

const COLUMNS: usize = 64;
const GUESTS: usize = 64;
/// The larger requests: raw `session.run` takes about as long for one as for the 25 MB model of the aims.
pub const ROWS: usize = 16;
pub const RAW: &str = "raw session.run";
pub const GUEST: &str = "headland, through guests";
pub const NATIVE: &str = "headland, native infer";
pub const BATCHED: &str = "package names batch axes";
pub const SINGLE: &str = "package names none";
const BATCHING: &str = "[batching]\nmax_rows = 64\ninputs.IN = { axis = 0 }\noutputs.OUT = { axis = 0 }\n";

pub fn title(rows: usize) -> String {
    format!("25 MB ONNX model, {rows} row{} a request, 64 connections", if rows == 1 { "" } else { "s" })
}

pub fn batching_title(model: &str) -> String {
    format!("{model} through 64 guests: batching")
}

pub fn measure(setup: &Setup, report: &mut Report) -> Result<()> {
    let graph = peers::mlp_onnx(setup)?;
    let mut raw = Raw::start(setup, &graph, None)?;
    let mut pair = Raw::start(setup, &graph, Some((2, 1)))?;
    let digits = PathBuf::from("models/digits");
    let named = |input: &str, output: &str| BATCHING.replace("IN", input).replace("OUT", output);
    let ours = servers::headland(
        setup,
        &[
            ("mlp", servers::package(setup, "mlp", &graph, &named("x", "y"))?),
            ("mlp-single", servers::package(setup, "mlp-single", &graph, "")?),
            (
                "digits",
                servers::package(
                    setup,
                    "digits",
                    &digits,
                    &format!("graph = \"model.onnx\"\n{}", named("image", "logits")),
                )?,
            ),
            ("digits-single", servers::package(setup, "digits-single", &digits, "graph = \"model.onnx\"\n")?),
        ],
    )?;
    let address = ours.server.address;
    for rows in [1, ROWS] {
        let mut contenders = [
            Contender::new(NATIVE, address, native("mlp", rows)),
            Contender::new(GUEST, address, guest("mlp", "x", &format!("{rows},{COLUMNS}"), rows)),
        ];
        let mut section = Section::new(&title(rows), "requests/s, more is better");
        in_turn(setup, &mut contenders, GUESTS, |turn| {
            match turn {
                Turn::Of(name, outcome) => section.add(name, outcome.rate()),
                Turn::Round => {
                    section.add(RAW, raw.run(setup, rows, 0)?.rate);
                    section.add("raw session.run, two sessions of one thread", pair.run(setup, rows, 0)?.rate);
                }
            }
            Ok(())
        })?;
        report.push(section);
    }
    for (model, input, shape) in [("mlp", "x", "1,64"), ("digits", "image", "1,8,8")] {
        let single = format!("{model}-single");
        let mut contenders = [
            Contender::new(SINGLE, address, guest(&single, input, shape, 1)),
            Contender::new(BATCHED, address, guest(model, input, shape, 1)),
        ];
        let mut section = Section::new(&batching_title(model), "requests/s, more is better");
        in_turn(setup, &mut contenders, GUESTS, |turn| {
            if let Turn::Of(name, outcome) = turn {
                section.add(name, outcome.rate());
            }
            Ok(())
        })?;
        report.push(section);
    }
    Ok(())
}

/// Rows of seeded numbers, other ones each time.
fn numbers(random: &mut Random, rows: usize) -> Vec<u8> {
    (0..rows * COLUMNS).flat_map(|_| (random.unit() as f32).to_le_bytes()).collect()
}

fn native(model: &'static str, rows: usize) -> Source {
    let mut random = Random::new(1);
    let shape = format!("[{rows},{COLUMNS}]");
    Box::new(move |out| {
        let data = numbers(&mut random, rows);
        out.extend_from_slice(&binary_infer(model, ("x", "FP32", &shape, &data), "y"));
    })
}

fn guest(model: &str, input: &str, shape: &str, rows: usize) -> Source {
    let mut random = Random::new(2);
    let (model, input, shape) = (model.to_owned(), input.to_owned(), shape.to_owned());
    Box::new(move |out| {
        let headers = [("x-model", &*model), ("x-input", &*input), ("x-shape", &*shape)];
        request(out, "POST", "/bench/infer", &headers, &numbers(&mut random, rows));
    })
}
