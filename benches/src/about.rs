//! The machine, the versions and the settings of a run, to stand beside its figures.

use std::fs;
use std::process::Command;

use crate::{Setup, peers};

/// Name and value of each.
pub fn read(setup: &Setup) -> Vec<(String, String)> {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let mut about = vec![
        ("processor", format!("{} ({cores} cores)", processor())),
        ("kernel", first_line("uname", &["-sr"])),
        ("load before", fs::read_to_string("/proc/loadavg").unwrap_or_default().trim().to_owned()),
        ("commit", first_line("git", &["describe", "--always", "--dirty"])),
        ("rustc", first_line("rustc", &["--version"])),
        ("wasmtime", first_line("wasmtime", &["--version"])),
        ("text-embeddings-inference", first_line("text-embeddings-router", &["--version"])),
        ("rounds", setup.rounds.to_string()),
        ("seconds of load a round", setup.window.as_secs_f64().to_string()),
    ];
    let versions = "import importlib.metadata as m; print(', '.join(f'{p} {m.version(p)}' for p in ['fastapi', 'uvicorn', 'onnxruntime']))";
    about.push(("Python peers", first_line(&peers::python(setup).display().to_string(), &["-c", versions])));
    let infinity =
        "import importlib.metadata as m; print(', '.join(f'{p} {m.version(p)}' for p in ['infinity_emb', 'torch']))";
    let python = setup.cache.join("bench/infinity/bin/python").display().to_string();
    about.push(("infinity", first_line(&python, &["-c", infinity])));
    about.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn processor() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    name.map_or("unknown", |(_, name)| name.trim()).to_owned()
}

fn first_line(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    text.lines().next().unwrap_or("not there").to_owned()
}
