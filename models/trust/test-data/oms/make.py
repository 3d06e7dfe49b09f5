"""Makes the signatures in this folder with the reference tool, and throws the private keys away. See README.md."""

import datetime
import shutil
import tempfile
from pathlib import Path

import model_signing
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

HERE = Path(__file__).resolve().parent
MODEL = HERE / "model"
CURVES = {"p256": ec.SECP256R1(), "p384": ec.SECP384R1(), "p521": ec.SECP521R1()}
PEM = serialization.Encoding.PEM
BEGIN = datetime.datetime(2025, 1, 1)
# Ends before anybody reads this, so that it shows what an expired certificate gets.
EXPIRED = datetime.datetime(2025, 2, 1)
END = datetime.datetime(2125, 1, 1)


def private(key, folder, name):
    path = folder / f"{name}.key"
    path.write_bytes(key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    return path


def public(key, name):
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    (HERE / f"{name}.pub").write_bytes(key.public_key().public_bytes(PEM, form))


def certificate(subject, key, issuer, issuer_key, *, authority, end=END):
    def name(text):
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    usage = {each: False for each in ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
                                      "encipher_only", "decipher_only")}
    usage |= {"digital_signature": not authority, "key_cert_sign": authority, "crl_sign": authority}
    return (
        x509.CertificateBuilder()
        .subject_name(name(subject))
        .issuer_name(name(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(BEGIN)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(**usage), critical=True)
        .sign(issuer_key, hashes.SHA256())
    )


def store(signed, folder, name):
    path = folder / f"{name}.pem"
    path.write_bytes(signed.public_bytes(PEM))
    return path


def sign(config, model, name, hashing=None):
    config.set_hashing_config(hashing or model_signing.hashing.Config())
    config.sign(model, HERE / f"{name}.sig")


def sign_with_keys(scratch):
    for name, curve in CURVES.items():
        key = ec.generate_private_key(curve)
        public(key, name)
        path = private(key, scratch, name)
        sign(model_signing.signing.Config().use_elliptic_key_signer(private_key=path), MODEL, f"key-{name}")
    p256 = scratch / "p256.key"
    signer = model_signing.signing.Config().use_elliptic_key_signer(private_key=p256)
    hashing = model_signing.hashing.Config
    sign(signer, MODEL, "files-blake2b", hashing().use_file_serialization(hashing_algorithm="blake2"))
    sign(signer, MODEL, "files-blake3", hashing().use_file_serialization(hashing_algorithm="blake3"))
    sign(signer, MODEL, "shards-sha256", hashing().use_shard_serialization(shard_size=10))
    blake2 = hashing().use_shard_serialization(hashing_algorithm="blake2", shard_size=7)
    sign(signer, MODEL, "shards-blake2b", blake2)
    ignoring = hashing().set_ignored_paths(paths=["notes.txt", "sub"])
    sign(signer, MODEL, "ignoring", ignoring)
    sign(signer, MODEL / "weights.bin", "single-file")


def sign_with_certificates(scratch):
    keys = {name: ec.generate_private_key(ec.SECP384R1()) for name in ("root", "middle", "leaf", "late")}
    root = certificate("Golden root", keys["root"], "Golden root", keys["root"], authority=True)
    middle = certificate("Golden middle", keys["middle"], "Golden root", keys["root"], authority=True)
    store(root, HERE, "root")
    chain = [store(middle, scratch, "middle")]
    for name, end in (("leaf", END), ("late", EXPIRED)):
        leaf = certificate(f"Golden {name}", keys[name], "Golden middle", keys["middle"], authority=False, end=end)
        config = model_signing.signing.Config().use_certificate_signer(
            private_key=private(keys[name], scratch, name),
            signing_certificate=store(leaf, scratch, name),
            certificate_chain=chain,
        )
        sign(config, MODEL, "certificate" if name == "leaf" else "certificate-expired")


def make_model():
    shutil.rmtree(MODEL, ignore_errors=True)
    (MODEL / "sub").mkdir(parents=True)
    (MODEL / "config.json").write_text('{"hidden": 4}\n')
    (MODEL / "weights.bin").write_bytes(bytes(range(64)))
    (MODEL / "sub/vocabulary.txt").write_text("edge\ninference\n")
    # Sorts before `sub/` as text and after it by the parts of its path.
    (MODEL / "sub.txt").write_text("beside\n")
    (MODEL / "notes.txt").write_text("")


if __name__ == "__main__":
    make_model()
    with tempfile.TemporaryDirectory() as scratch:
        sign_with_keys(Path(scratch))
        sign_with_certificates(Path(scratch))
