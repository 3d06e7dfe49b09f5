//! The reference tool itself, in both directions.
//!
//! Needs a Python that can `import model_signing` (1.1.1, with pyOpenSSL): `HEADLAND_MODEL_SIGNING_PYTHON`, or the one
//! in the cache's virtual environment.

use std::path::PathBuf;
use std::process::{Command, Output};

use headland_trust::contents::Folder;
use headland_trust::oms::{self, SignOptions, Verdict, VerifyOptions};
use headland_trust::{Authority, Certificate, HashAlgorithm, SigningKey, VerifyError};

use crate::pki::{self, Identity};
use crate::sigstore::{ISSUER, Instance};
use crate::support::*;

/// The Python with the reference tool, or a reason to skip.
fn python() -> Option<PathBuf> {
    let cache = || {
        let root = PathBuf::from("../..");
        std::env::var_os("HEADLAND_CACHE").map_or_else(|| root.join(".cache"), PathBuf::from).join("venv/bin/python")
    };
    let python = std::env::var_os("HEADLAND_MODEL_SIGNING_PYTHON").map_or_else(cache, PathBuf::from);
    let works = Command::new(&python).args(["-c", "import model_signing, OpenSSL"]).output();
    if works.is_ok_and(|output| output.status.success()) {
        return Some(python);
    }
    let reason = format!("{} cannot import model_signing", python.display());
    assert!(std::env::var_os("REQUIRE_E2E").is_none(), "{reason}, and REQUIRE_E2E is set");
    println!("skipped: {reason}");
    None
}

/// A folder with a model in it, and room for keys and signatures beside it.
struct Bench {
    python: PathBuf,
    folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Option<Self> {
        let bench = Bench { python: python()?, folder: tempfile::tempdir().unwrap() };
        write(&model(), &bench.model());
        Some(bench)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn model(&self) -> PathBuf {
        self.path("model")
    }

    fn put(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        std::fs::write(self.path(name), content).unwrap();
        self.arg(name)
    }

    fn arg(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(&self.python);
        command.args(["-m", "model_signing"]).args(arguments).env("NO_COLOR", "1").output().unwrap()
    }

    #[track_caller]
    fn accepts(&self, arguments: &[&str]) {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", said(&output));
    }

    #[track_caller]
    fn refuses(&self, arguments: &[&str], why: &str) {
        let output = self.run(arguments);
        assert!(!output.status.success(), "{arguments:?} succeeds");
        assert!(said(&output).contains(why), "{}", said(&output));
    }

    /// Runs a program that has the tool as a library, where its commands have no option.
    #[track_caller]
    fn script(&self, script: &str, arguments: &[&str]) {
        let output = Command::new(&self.python).arg("-c").arg(script).args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", said(&output));
    }

    fn verify(&self, model: &str, signature: &str, authority: &Authority) -> Result<Verdict, VerifyError> {
        let contents = Folder::open(&self.path(model)).unwrap();
        oms::verify(&std::fs::read(self.path(signature)).unwrap(), &contents, authority, &VerifyOptions::default())
    }

    fn sign(&self, model: &str, key: &SigningKey, options: &SignOptions) -> String {
        let contents = Folder::open(&self.path(model)).unwrap();
        oms::sign_with_key(&contents, &contents.name(), key, options).unwrap()
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn the_tool_accepts_what_we_sign_with_a_key_and_refuses_it_changed() {
    let Some(bench) = Bench::new() else { return };
    let model = bench.arg("model");
    for (_, algorithm) in CURVES {
        let key = key_on(algorithm);
        let public = bench.put("key.pub", key.public().pem());
        let signature = bench.put("files.sig", bench.sign("model", &key, &SignOptions::default()));
        bench.accepts(&["verify", "key", &model, "--signature", &signature, "--public_key", &public]);
    }
    std::fs::write(bench.path("model/weights"), "other").unwrap();
    let (signature, public) = (bench.arg("files.sig"), bench.arg("key.pub"));
    let arguments = ["verify", "key", &model, "--signature", &signature, "--public_key", &public];
    bench.refuses(&arguments, "Hash mismatch for");
}

#[test]
fn the_tool_accepts_our_shards() {
    // Its command knows whole files only, its library guesses from the signature.
    const SCRIPT: &str = "
import sys, model_signing
model, signature, public = sys.argv[1:]
model_signing.verifying.Config().use_elliptic_key_verifier(public_key=public).verify(model, signature)
";
    let Some(bench) = Bench::new() else { return };
    let key = key();
    let public = bench.put("key.pub", key.public().pem());
    for bytes in [1, 6, 16, 1000] {
        let options = SignOptions { shard_bytes: Some(bytes), ..Default::default() };
        let signature = bench.put("shards.sig", bench.sign("model", &key, &options));
        bench.script(SCRIPT, &[&bench.arg("model"), &signature, &public]);
    }
}

#[test]
fn the_tool_accepts_a_signature_inside_the_model_and_a_model_that_is_one_file() {
    let Some(bench) = Bench::new() else { return };
    let key = key();
    let public = bench.put("key.pub", key.public().pem());
    let options = SignOptions { ignore_paths: vec!["model.sig".to_owned()], ..Default::default() };
    let signature = bench.put("model/model.sig", bench.sign("model", &key, &options));
    bench.accepts(&["verify", "key", &bench.arg("model"), "--signature", &signature, "--public_key", &public]);
    assert_eq!(bench.verify("model", "model/model.sig", &trusts(&key)).unwrap().unsigned, ["model.sig"]);
    let signature = bench.put("weights.sig", bench.sign("model/weights", &key, &SignOptions::default()));
    let weights = bench.arg("model/weights");
    bench.accepts(&["verify", "key", &weights, "--signature", &signature, "--public_key", &public]);
}

#[test]
fn the_tool_accepts_our_blake_digests() {
    // Its command guesses the hash from the signature and does not know BLAKE2b by the name it has there.
    const SCRIPT: &str = "
import sys, model_signing
model, signature, public, name = sys.argv[1:]
hashing = model_signing.hashing.Config().use_file_serialization(hashing_algorithm=name)
config = model_signing.verifying.Config().use_elliptic_key_verifier(public_key=public)
config.set_hashing_config(hashing).verify(model, signature)
";
    let Some(bench) = Bench::new() else { return };
    let key = key();
    let public = bench.put("key.pub", key.public().pem());
    for (name, hash) in [("blake2", HashAlgorithm::Blake2b), ("blake3", HashAlgorithm::Blake3)] {
        let options = SignOptions { hash, ..Default::default() };
        let signature = bench.put("blake.sig", bench.sign("model", &key, &options));
        bench.script(SCRIPT, &[&bench.arg("model"), &signature, &public, name]);
    }
}

#[test]
fn we_accept_what_the_tool_signs_with_a_key_and_refuse_it_changed() {
    let Some(bench) = Bench::new() else { return };
    for (curve, algorithm) in CURVES {
        let private = private_pem(algorithm);
        let key = SigningKey::from_pem(private.as_bytes()).unwrap();
        let (private, signature) = (bench.put("key.pem", private), bench.arg(curve));
        bench.accepts(&["sign", "key", &bench.arg("model"), "--signature", &signature, "--private_key", &private]);
        assert_eq!(bench.verify("model", curve, &trusts(&key)).unwrap().signed.len(), model().len());
        let weights = bench.arg("model/weights");
        bench.accepts(&["sign", "key", &weights, "--signature", &bench.arg("one"), "--private_key", &private]);
        assert_eq!(bench.verify("model/weights", "one", &trusts(&key)).unwrap().signed, ["."]);
        std::fs::write(bench.path("model/extra"), "").unwrap();
        let refused = refusal(bench.verify("model", curve, &trusts(&key)));
        assert_eq!(refused, "`extra` is in the model, but not signed");
        std::fs::remove_file(bench.path("model/extra")).unwrap();
    }
}

#[test]
fn links_are_treated_alike() {
    let Some(bench) = Bench::new() else { return };
    std::os::unix::fs::symlink("weights", bench.path("model/link")).unwrap();
    let private = private_pem(CURVES[0].1);
    let key = SigningKey::from_pem(private.as_bytes()).unwrap();
    let (private, public) = (bench.put("key.pem", private), bench.put("key.pub", key.public().pem()));
    let (model, signature) = (bench.arg("model"), bench.arg("theirs.sig"));
    let sign = ["sign", "key", &model, "--signature", &signature, "--private_key", &private];
    bench.refuses(&sign, "because it is a symlink");
    bench.accepts(&[&sign[..], &["--allow_symlinks"]].concat());
    assert!(bench.verify("model", "theirs.sig", &trusts(&key)).unwrap().signed.contains(&"link".to_owned()));
    let options = SignOptions { allow_symlinks: true, ..Default::default() };
    let signature = bench.put("ours.sig", bench.sign("model", &key, &options));
    let verify = ["verify", "key", &model, "--signature", &signature, "--public_key", &public, "--allow_symlinks"];
    bench.accepts(&verify);
}

#[test]
fn certificates_work_in_both_directions() {
    let Some(bench) = Bench::new() else { return };
    let top = pki::root(pki::authority_params("Top"));
    let middle = pki::issued(pki::authority_params("Middle"), &top);
    let leaf = pki::issued(pki::signer_params("Release"), &middle);
    let pem_of = |identity: &Identity| pem("CERTIFICATE", identity.certificate.der());
    let root = bench.put("root.pem", pem_of(&top));
    let model = bench.arg("model");

    let contents = Folder::open(&bench.model()).unwrap();
    let (key, chain) = (leaf.signing_key(), [middle.certificate.clone()]);
    let options = SignOptions::default();
    let ours = oms::sign_with_certificate(&contents, "model", &key, &leaf.certificate, &chain, &options).unwrap();
    let ours = bench.put("ours.sig", ours);
    bench.accepts(&["verify", "certificate", &model, "--signature", &ours, "--certificate_chain", &root]);

    let theirs = bench.arg("theirs.sig");
    let (private, certificate) =
        (bench.put("leaf.key", leaf.key.serialize_pem()), bench.put("leaf.pem", pem_of(&leaf)));
    let middle = bench.put("middle.pem", pem_of(&middle));
    bench.accepts(&[
        "sign",
        "certificate",
        &model,
        "--signature",
        &theirs,
        "--private_key",
        &private,
        "--signing_certificate",
        &certificate,
        "--certificate_chain",
        &middle,
    ]);
    let verdict = bench.verify("model", "theirs.sig", &pki::trusts(&[&top])).unwrap();
    assert_eq!(verdict.signer.to_string(), "CN=Release (certified by CN=Middle)");
    let other = pki::root(pki::authority_params("Top"));
    assert!(refusal(bench.verify("model", "theirs.sig", &pki::trusts(&[&other]))).contains("does not chain"));
    assert_eq!(Certificate::all_from_pem(&std::fs::read(root).unwrap()).unwrap().len(), 1);
}

#[test]
fn the_tool_accepts_the_keyless_signatures_our_tests_make() {
    // So that our own instance is known to be like the real one.
    let Some(bench) = Bench::new() else { return };
    let instance = Instance::new();
    let config = serde_json::json!({
        "mediaType": "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json",
        "trustedRoot": instance.trusted_root(),
        "signingConfig": {
            "mediaType": "application/vnd.dev.sigstore.signingconfig.v0.2+json",
            "caUrls": [], "oidcUrls": [], "rekorTlogUrls": [], "tsaUrls": [],
            "rekorTlogConfig": { "selector": "ANY" },
            "tsaConfig": { "selector": "ANY" },
        },
    });
    let (config, model) = (bench.put("trust.json", config.to_string()), bench.arg("model"));
    let signature = bench.put("keyless.sig", instance.sign(&crate::support::model()));
    let identity = |who| {
        [
            "verify",
            "sigstore",
            &model,
            "--signature",
            &signature,
            "--trust_config",
            &config,
            "--identity",
            who,
            "--identity_provider",
            ISSUER,
        ]
    };
    bench.accepts(&identity("signer@acme.example"));
    bench.refuses(&identity("other@acme.example"), "other@acme.example");
    assert!(bench.verify("model", "keyless.sig", &instance.trusts("signer@acme.example")).is_ok());
}
