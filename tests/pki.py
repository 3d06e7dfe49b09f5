"""Keys and certificates, made with openssl."""

import shutil
import subprocess

import gateway as support

CURVES = ["prime256v1", "secp384r1", "secp521r1"]
# Signatures that the reference tool made.
DATA = support.ROOT / "models/trust/test-data/oms"
# A keyless one over the same model, and the sigstore instance that vouches for it.
KEYLESS = support.ROOT / "test-data/signing/keyless.sig"
TRUSTED_ROOT = support.ROOT / "test-data/signing/trusted_root.json"
SIGNER, PROVIDER = "signer@acme.example", "https://accounts.acme.example"


def openssl(*arguments):
    support.need("openssl", "REQUIRE_E2E", shutil.which("openssl"))
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True, timeout=60)


def make_key(folder, name, curve=CURVES[0]):
    private, public = folder / f"{name}.pem", folder / f"{name}.pub"
    openssl("ecparam", "-name", curve, "-genkey", "-noout", "-out", private)
    openssl("ec", "-in", private, "-pubout", "-out", public)
    private.chmod(0o600)
    return private, public


def make_certificate(folder, name, issuer=None, *, extensions, days=30):
    """A key and its certificate, by `issuer` or by itself."""
    private, _ = make_key(folder, name)
    certificate, request, details = folder / f"{name}.crt", folder / f"{name}.csr", folder / f"{name}.ext"
    openssl("req", "-new", "-key", private, "-subj", f"/O=Acme/CN={name}", "-out", request)
    details.write_text(extensions)
    signed_by = ["-signkey", private] if issuer is None else ["-CA", issuer[1], "-CAkey", issuer[0], "-CAcreateserial"]
    openssl("x509", "-req", "-in", request, *signed_by, "-days", days, "-extfile", details, "-out", certificate)
    return private, certificate
