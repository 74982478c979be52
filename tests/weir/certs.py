"""Certificates for the tests, made with the openssl command."""

import ssl
import subprocess
from pathlib import Path


def _openssl(*arguments, text=None):
    done = subprocess.run(
        ["openssl", *map(str, arguments)], input=text, text=True, capture_output=True, timeout=30
    )
    if done.returncode:
        raise RuntimeError(f"openssl {arguments[0]}: {done.stderr}")


def expiry(pair):
    """The end of a certificate's life, in unix seconds."""
    text = subprocess.run(["openssl", "x509", "-enddate", "-noout", "-in", pair[0]],
                          capture_output=True, text=True, check=True, timeout=30).stdout
    return int(ssl.cert_time_to_seconds(text.strip().removeprefix("notAfter=")))


def _key(path):
    _openssl("ecparam", "-name", "secp384r1", "-genkey", "-noout", "-out", path)


def self_signed(folder, name, subject="kong_clustering", days=30):
    """A pair as `hybrid gen_cert` makes it: self-signed, a common name, no SAN."""
    folder = Path(folder)
    crt, key = folder / f"{name}.crt", folder / f"{name}.key"
    _key(key)
    _openssl("req", "-x509", "-new", "-key", key, "-out", crt, "-days", days,
             "-subj", f"/CN={subject}")
    return str(crt), str(key)


def authority(folder, name="ca"):
    return self_signed(folder, name, subject=f"Weir test {name}")


def signed(folder, name, ca, subject, expired=False, names=None, end=None):
    """A pair signed by `ca`, with the subject as SAN too; `names` are the SANs instead."""
    folder = Path(folder)
    crt, key, csr = (folder / f"{name}.{end}" for end in ("crt", "key", "csr"))
    _key(key)
    _openssl("req", "-new", "-key", key, "-out", csr, "-subj", f"/CN={subject}")
    config = folder / f"{name}.cnf"
    base = folder / f"{name}.ca"
    base.mkdir(exist_ok=True)
    (base / "index").write_text("")
    (base / "serial").write_text("1000\n")
    config.write_text(
        f"[ca]\ndefault_ca=d\n[d]\ndir={base}\ndatabase={base}/index\nserial={base}/serial\n"
        f"new_certs_dir={base}\ndefault_md=sha256\npolicy=p\nx509_extensions=x\nunique_subject=no\n"
        f"[p]\ncommonName=supplied\n[x]\nsubjectAltName={names or f'DNS:{subject}'}\n"
    )
    start, end = "20200101000000Z", "20210101000000Z" if expired else end or "20490101000000Z"
    _openssl("ca", "-batch", "-config", config, "-cert", ca[0], "-keyfile", ca[1], "-in", csr,
             "-out", crt, "-notext", "-startdate", start, "-enddate", end)
    return str(crt), str(key)


def expired_self_signed(folder, name, subject="kong_clustering"):
    ca = authority(folder, f"{name}-ca")
    return signed(folder, name, ca, subject, expired=True)
