//! `headland model sign`, `model verify` and `app sign`.

use std::path::PathBuf;

use clap::ValueEnum;
use headland_package::ModelVersion;
use headland_trust::HashAlgorithm;

/// Options of `headland model sign`.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  openssl ecparam -name prime256v1 -genkey -noout -out release.pem && chmod 600 release.pem
  openssl ec -in release.pem -pubout -out release.pub
      make a key, and the public half that others verify with
  headland model sign ./digits --key release.pem
      write ./digits/model.sig
  headland model sign ./digits --key leaf.pem --certificate-chain leaf.crt intermediate.crt
      sign with a key that a certificate authority vouches for

The signature is an OpenSSF Model Signing 1.0 bundle: other tools of that standard verify it.")]
pub struct SignModel {
    /// The model's folder, or the one file it is
    #[arg(value_name = "DIR|FILE")]
    pub model: PathBuf,
    /// The private key: elliptic curve P-256, P-384 or P-521, PEM, not encrypted
    #[arg(long, value_name = "FILE")]
    pub key: PathBuf,
    /// The key's certificate and those between it and the root, PEM
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub certificate_chain: Vec<PathBuf>,
    /// Write the signature here [default: DIR/model.sig, or FILE.sig]
    #[arg(long, value_name = "FILE")]
    pub signature: Option<PathBuf>,
    /// Leave these out, as seen from the current folder; git's own files always are
    #[arg(long, value_name = "PATH", num_args = 1..)]
    pub ignore_paths: Vec<PathBuf>,
    /// Sign whole files, or pieces of 1 GB, which verify in parallel
    #[arg(long, value_enum, default_value_t, value_name = "METHOD")]
    pub method: MethodName,
    /// The hash of each file; the registry can judge sha256 before the files are sent
    #[arg(long, value_enum, default_value_t, value_name = "HASH")]
    pub hash: HashName,
    /// Sign what symbolic links lead to; verifiers then accept links too
    #[arg(long)]
    pub allow_symlinks: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Options of `headland model verify`.
#[derive(clap::Args)]
#[command(group(clap::ArgGroup::new("authority").required(true).args(["key", "certificate_chain", "identity"])))]
#[command(after_help = "Examples:
  headland model verify ./digits --key release.pub
  headland model verify ./digits --certificate-chain root.crt
  headland model verify ./digits --identity release@acme.example --identity-provider https://accounts.example
      a keyless signature, judged without network by the public sigstore instance's root

Exit status: 0 when it verifies, 1 when it does not, 2 when it cannot be judged (a key or model that is not there).")]
pub struct VerifyModel {
    /// The model's folder, or the one file it is
    #[arg(value_name = "DIR|FILE")]
    pub model: PathBuf,
    /// The signature [default: DIR/model.sig, or FILE.sig]
    #[arg(long, value_name = "FILE")]
    pub signature: Option<PathBuf>,
    /// The public key that must have signed, PEM
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// Root certificates that must vouch for the signer, PEM
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub certificate_chain: Vec<PathBuf>,
    /// The identity that must have signed: an e-mail address or a URI
    #[arg(long, value_name = "ID", requires = "identity_provider")]
    pub identity: Option<String>,
    /// Who knows the identity: the issuer's URL
    #[arg(long, value_name = "URL", requires = "identity")]
    pub identity_provider: Option<String>,
    /// The sigstore instance's trusted_root.json [default: the public instance's]
    #[arg(long, value_name = "FILE", requires = "identity")]
    pub trusted_root: Option<PathBuf>,
    /// These need not be signed, as seen from the current folder
    #[arg(long, value_name = "PATH", num_args = 1..)]
    pub ignore_paths: Vec<PathBuf>,
    /// Accept files that are not signed
    #[arg(long)]
    pub ignore_unsigned_files: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Options of `headland app sign`.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  headland app sign ./search/headland.app.toml --version 2 --key release.pem
      write ./search/headland.app.sig, which `headland app push --version 2` sends along

What is signed is the manifest that `headland app push` makes of headland.app.toml, its components and the version: sign
again when one of them changes.")]
pub struct SignApp {
    /// The headland.app.toml
    pub manifest: PathBuf,
    /// The private key: elliptic curve P-256, P-384 or P-521, PEM, not encrypted
    #[arg(long, value_name = "FILE")]
    pub key: PathBuf,
    /// The version it will be pushed as
    #[arg(long, value_name = "V", default_value_t)]
    pub version: ModelVersion,
    /// Write the signature here [default: headland.app.sig beside the manifest]
    #[arg(long, value_name = "FILE")]
    pub signature: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// How files become what is signed.
#[derive(Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum MethodName {
    /// Each file whole
    #[default]
    Files,
    /// Each file in pieces
    Shards,
}

/// A hash of files.
#[derive(Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum HashName {
    #[default]
    Sha256,
    Blake2b,
    Blake3,
}

impl From<HashName> for HashAlgorithm {
    fn from(name: HashName) -> Self {
        match name {
            HashName::Sha256 => HashAlgorithm::Sha256,
            HashName::Blake2b => HashAlgorithm::Blake2b,
            HashName::Blake3 => HashAlgorithm::Blake3,
        }
    }
}
