//! The files of one run: a large model and MiniLM, both signed, with the policy that admits them; removed at the end.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::{Setup, servers};

const POLICY: &str = r#"version = 1
[[rule]]
name = "benchmark"
artifact = "models/*"
[[rule.authority]]
key = "key.pub"
"#;
/// The model is there at most twice at a time, and some room stays.
const COPIES: u64 = 3;

/// A folder that goes when this does.
pub struct Scratch {
    folder: tempfile::TempDir,
    /// What tables call the large model's size.
    pub size: String,
}

impl Scratch {
    pub fn make(setup: &Setup) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("headland-bench-").tempdir_in(&setup.scratch)?;
        let size = format!("{} GiB", (setup.model_bytes as f64 / f64::from(1 << 30) * 100.0).round() / 100.0);
        let scratch = Scratch { folder, size };
        scratch.check_space(setup)?;
        scratch.write_model(setup)?;
        scratch.make_keys()?;
        for (model, signature) in [(scratch.model(), scratch.signature()), scratch.minilm(setup)] {
            let mut sign = Command::new(&setup.binary);
            sign.args(["model", "sign"]).arg(model).arg("--key").arg(scratch.path("key.pem"));
            timed(sign.arg("--signature").arg(signature))?;
        }
        Ok(scratch)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The folder of the large model.
    pub fn model(&self) -> PathBuf {
        self.path("model")
    }

    /// Its weights: all of it but a few bytes.
    pub fn weights(&self) -> PathBuf {
        self.path("model/model.onnx")
    }

    pub fn signature(&self) -> PathBuf {
        self.path("model/model.sig")
    }

    /// The folder of MiniLM, and its signature.
    pub fn minilm(&self, setup: &Setup) -> (PathBuf, PathBuf) {
        (servers::minilm(setup), self.path("minilm.sig"))
    }

    /// Removes what one variant wrote.
    pub fn remove(&self, name: &str) -> Result<()> {
        let path = self.path(name);
        if path.is_dir() {
            fs::remove_dir_all(path)?
        } else {
            fs::remove_file(path)?
        }
        Ok(())
    }

    fn check_space(&self, setup: &Setup) -> Result<()> {
        let disk = rustix::fs::statvfs(self.folder.path()).map_err(io::Error::from)?;
        let (free, needed) = (disk.f_bavail.saturating_mul(disk.f_frsize), setup.model_bytes.saturating_mul(COPIES));
        if free < needed {
            bail!("{} has {free} bytes free and {needed} are needed; name another --scratch", setup.scratch.display());
        }
        Ok(())
    }

    fn write_model(&self, setup: &Setup) -> Result<()> {
        fs::create_dir(self.model())?;
        fs::write(self.path("model/config.json"), "{}")?;
        let mut random = File::open("/dev/urandom")?.take(setup.model_bytes);
        io::copy(&mut random, &mut File::create(self.weights())?)?;
        Ok(())
    }

    fn make_keys(&self) -> Result<()> {
        let (private, public) = (self.path("key.pem"), self.path("key.pub"));
        let mut generate = Command::new("openssl");
        generate.args(["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out"]).arg(&private);
        timed(&mut generate)?;
        timed(Command::new("openssl").args(["pkey", "-pubout", "-in"]).arg(&private).arg("-out").arg(&public))?;
        Ok(fs::write(self.path("policy.toml"), POLICY)?)
    }
}

/// Lets the disk finish what others wrote, and has `path`, a file or a folder, in the page cache.
pub fn settle(path: &Path) -> Result<()> {
    timed(&mut Command::new("sync"))?;
    warm(path).with_context(|| format!("reading {}", path.display()))
}

fn warm(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            warm(&entry?.path())?;
        }
        return Ok(());
    }
    let mut file = File::open(path)?;
    let mut chunk = vec![0; 1 << 20];
    while file.read(&mut chunk)? > 0 {}
    Ok(())
}

/// Runs a command, which has to succeed; how long it took, in milliseconds.
pub fn timed(command: &mut Command) -> Result<f64> {
    let started = Instant::now();
    let output =
        command.stdin(Stdio::null()).output().with_context(|| format!("running {:?}", command.get_program()))?;
    let took = since(started);
    if !output.status.success() {
        bail!("{command:?} ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(took)
}

/// `sha256sum` as people have it, which may not know the processor's instructions for it, and OpenSSL, which does.
pub fn hash(file: &Path) -> Result<[(&'static str, f64); 2]> {
    settle(file)?;
    let sha256sum = timed(Command::new("sha256sum").arg(file))?;
    settle(file)?;
    let openssl = timed(Command::new("openssl").args(["dgst", "-sha256"]).arg(file))?;
    Ok([("sha256sum", sha256sum), ("openssl dgst -sha256", openssl)])
}

/// Milliseconds since then.
pub fn since(started: Instant) -> f64 {
    started.elapsed().as_secs_f64() * 1e3
}
