//! `headland-bench-llm`: language models here and in llama.cpp, in turn, in one run, on the same files; medians, spread and
//! ratios, as text and as JSON. `make bench-llm` runs it.
//!
//! `files` makes the models, out of a seed; `ours` calls the decoder as `peer` has llama.cpp called, through the narrowest
//! interface there is; `latency` asks the engine, which llama.cpp has no counterpart of.

mod files;
mod latency;
mod ours;
mod peer;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};
use headland_report::{Report, Section, machine};
use serde::{Deserialize, Serialize};

use crate::files::Format;
use crate::latency::Latency;
use crate::ours::Ours;
use crate::peer::LlamaCpp;

/// Where a run leaves its figures, in its folder.
const FIGURES: &str = "figures.json";
/// Sequences that answer together.
const STREAMS: usize = 8;

/// Measure language models against llama.cpp.
#[derive(Parser)]
struct Cli {
    /// Where scripts/bench.sh put its Python, and models are put
    #[arg(long, default_value = ".cache")]
    cache: PathBuf,
    /// Folder for figures
    #[arg(long, default_value = "target/bench-llm")]
    out: PathBuf,
    /// Rounds; each measures ours and llama.cpp once, in turn [default: 3; quick: 1]
    #[arg(long)]
    rounds: Option<usize>,
    /// Threads of each [default: as many as there are processors]
    #[arg(long)]
    threads: Option<usize>,
    /// One short round of everything, to see that it works
    #[arg(long)]
    quick: bool,
    /// Measure these alone
    #[arg(long, value_enum)]
    only: Vec<Format>,
}

/// What is measured of each file.
struct Setup {
    cache: PathBuf,
    rounds: usize,
    threads: usize,
    alone: Order,
    together: Order,
    /// Requests that come in while others answer, in each round, and the tokens of each.
    probes: usize,
    probe_tokens: usize,
    /// Tokens that two requests begin with.
    shared_tokens: usize,
}

/// So many sequences read their prompts one after the other, and answer together.
#[derive(Clone, Copy, Debug, Serialize)]
struct Order {
    streams: usize,
    prompt: usize,
    answer: usize,
}

/// Tokens per second of all sequences.
#[derive(Clone, Copy, Debug, Deserialize)]
struct Rates {
    prefill: f64,
    decode: f64,
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    fs::create_dir_all(&cli.out).with_context(|| format!("making {}", cli.out.display()))?;
    let setup = Setup::of(&cli);
    let mut report = Report { about: setup.about(), ..Report::default() };
    for format in Format::value_variants() {
        if cli.only.is_empty() || cli.only.contains(format) {
            measure(*format, &setup, &mut report).with_context(|| format!("measuring {}", format.name()))?;
            // After each: what was measured is not lost with what comes after.
            fs::write(cli.out.join(FIGURES), serde_json::to_string_pretty(&report)?)?;
        }
    }
    Ok(())
}

fn measure(format: Format, setup: &Setup, report: &mut Report) -> Result<()> {
    let name = format.name();
    let file = files::made(&setup.cache, format)?;
    let mut llama = LlamaCpp::start(&setup.cache, &file, setup.threads)?;
    let mut ours = Ours::load(&file, setup.threads)?;
    let mut loading = Section::new(&format!("{name}: loading"), "s");
    loading.add("headland", ours.load_s);
    report.push(loading);
    let (Order { prompt, answer, .. }, several) = (setup.alone, setup.together);
    let mut prefill = Section::new(&format!("{name}: a prompt of {prompt}, one stream"), "tokens/s");
    let mut decode = Section::new(&format!("{name}: {answer} tokens of an answer, one stream"), "tokens/s");
    let title = format!(
        "{name}: {} tokens each of {STREAMS} answers together, after prompts of {}",
        several.answer, several.prompt
    );
    let mut together = Section::new(&title, "tokens/s");
    for _ in 0..setup.rounds {
        for (who, rates) in [("llama.cpp", llama.measure(setup.alone)?), ("headland", ours.measure(setup.alone)?)] {
            prefill.add(who, rates.prefill);
            decode.add(who, rates.decode);
        }
        for (who, rates) in [("llama.cpp", llama.measure(several)?), ("headland", ours.measure(several)?)] {
            together.add(who, rates.decode);
        }
    }
    [prefill, decode, together].into_iter().for_each(|section| report.push(section));
    // Its threads and its memory would be in the way.
    drop(llama);
    if format == Format::Q4KM {
        let mut latency = Latency::start(ours)?;
        report.push(latency.first_tokens(setup)?);
        report.push(latency.shared_beginnings(setup)?);
    }
    Ok(())
}

impl Setup {
    fn of(cli: &Cli) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let (rounds, prompt, answer, probes, probe_tokens, shared_tokens) =
            if cli.quick { (1, 64, 8, 2, 32, 128) } else { (3, 512, 128, 10, 128, 1000) };
        Setup {
            cache: cli.cache.clone(),
            rounds: cli.rounds.unwrap_or(rounds).max(1),
            threads: cli.threads.unwrap_or(cores).max(1),
            alone: Order { streams: 1, prompt, answer },
            // Shorter: what is measured are steps, and the prompts before them take long.
            together: Order { streams: STREAMS, prompt: prompt / 4, answer: answer / 2 },
            probes,
            probe_tokens,
            shared_tokens,
        }
    }

    fn about(&self) -> Vec<(String, String)> {
        let python = peer::python(&self.cache).display().to_string();
        let version = "import importlib.metadata as m; print(m.version('llama-cpp-python'))";
        let about = [
            ("processor", machine::processor()),
            ("load before", machine::load()),
            ("commit", machine::first_line("git", &["describe", "--always", "--dirty"])),
            ("llama-cpp-python", machine::first_line(&python, &["-c", version])),
            ("threads", self.threads.to_string()),
            ("rounds", self.rounds.to_string()),
        ];
        let about = about.into_iter().inspect(|(name, value)| println!("{name}: {value}"));
        about.map(|(name, value)| (name.to_owned(), value)).collect()
    }
}
