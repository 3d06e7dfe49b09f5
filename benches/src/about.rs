//! The machine, the versions and the settings of a run, to stand beside its figures.

use headland_report::machine;

use crate::{Setup, peers};

/// Name and value of each.
pub fn read(setup: &Setup) -> Vec<(String, String)> {
    let mut about = vec![
        ("processor", machine::processor()),
        ("kernel", machine::first_line("uname", &["-sr"])),
        ("load before", machine::load()),
        ("commit", machine::first_line("git", &["describe", "--always", "--dirty"])),
        ("rustc", machine::first_line("rustc", &["--version"])),
        ("wasmtime", machine::first_line("wasmtime", &["--version"])),
        ("text-embeddings-inference", machine::first_line("text-embeddings-router", &["--version"])),
        ("rounds", setup.rounds.to_string()),
        ("seconds of load a round", setup.window.as_secs_f64().to_string()),
    ];
    let versions = "import importlib.metadata as m; print(', '.join(f'{p} {m.version(p)}' for p in ['fastapi', 'uvicorn', 'onnxruntime']))";
    about.push(("Python peers", machine::first_line(&peers::python(setup).display().to_string(), &["-c", versions])));
    let infinity =
        "import importlib.metadata as m; print(', '.join(f'{p} {m.version(p)}' for p in ['infinity_emb', 'torch']))";
    let python = setup.cache.join("bench/infinity/bin/python").display().to_string();
    about.push(("infinity", machine::first_line(&python, &["-c", infinity])));
    about.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}
