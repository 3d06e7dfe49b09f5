//! llama.cpp in a process of its own: benches/peers/llama.py.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::{Order, Rates};

/// The Python that has llama.cpp; scripts/bench.sh makes it.
pub fn python(cache: &Path) -> PathBuf {
    cache.join("bench/llama/bin/python")
}

/// A model, loaded.
pub struct LlamaCpp {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl LlamaCpp {
    /// Loads `file`.
    pub fn start(cache: &Path, file: &Path, threads: usize) -> Result<Self> {
        let mut command = Command::new(python(cache));
        command.arg("benches/peers/llama.py").arg(file).arg(threads.to_string());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("starting llama.py")?;
        let orders = child.stdin.take().context("its stdin")?;
        let answers = BufReader::new(child.stdout.take().context("its stdout")?);
        let mut llama = LlamaCpp { child, orders, answers };
        llama.line()?;
        Ok(llama)
    }

    /// Measures.
    pub fn measure(&mut self, order: Order) -> Result<Rates> {
        writeln!(self.orders, "{}", serde_json::to_string(&order)?)?;
        self.orders.flush()?;
        Ok(serde_json::from_str(&self.line()?)?)
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        ensure!(self.answers.read_line(&mut line)? > 0, "llama.py ended");
        Ok(line)
    }
}

impl Drop for LlamaCpp {
    fn drop(&mut self) {
        // Gone already is fine.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
