"""A certificate authority of one run, and the certificate of all hosts the exchange answers for."""

from __future__ import annotations

import ipaddress
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

HOSTS = (
    "fapi.binance.com",
    "api.binance.com",
    "fstream.binance.com",
    "stream.binance.com",
    "api.bybit.com",
    "stream.bybit.com",
    "api.kraken.com",
    "clock.sim",
    "localhost",
)


def server(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """Make an authority and a server certificate signed by it.

    Parameters
    ----------
    folder : Path
        Where the files go; the keys are good for this run alone.

    Returns
    -------
    ssl.SSLContext
        For the server.
    Path
        The authority's certificate, which a client must be told to trust.
    """
    from cryptography.hazmat.primitives.asymmetric import ec

    authority, key = (
        ec.generate_private_key(ec.SECP256R1()),
        ec.generate_private_key(ec.SECP256R1()),
    )
    ca = _certificate(authority.public_key(), authority, "simulated exchange", ca=True)
    leaf = _certificate(key.public_key(), authority, "simulated exchange", ca=False)
    paths = [folder / name for name in ("ca.pem", "server.pem")]
    paths[0].write_bytes(_pem(ca))
    paths[1].touch(mode=0o600)
    paths[1].write_bytes(_key(key) + _pem(leaf))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(paths[1])
    return context, paths[0]


def _certificate(public: Any, signer: Any, issuer: str, *, ca: bool) -> Any:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    names = [x509.DNSName(host) for host in HOSTS]
    here = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(issuer if ca else HOSTS[0]))
        .issuer_name(_name(issuer))
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=30))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=0 if ca else None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
        .add_extension(_usage(ca), critical=True)
    )
    if not ca:
        builder = builder.add_extension(x509.SubjectAlternativeName([*names, here]), critical=False)
    return builder.sign(signer, hashes.SHA256())


def _usage(ca: bool) -> Any:
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=ca,
        crl_sign=ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _name(common: str) -> Any:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _pem(certificate: Any) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding

    made: bytes = certificate.public_bytes(Encoding.PEM)
    return made


def _key(key: Any) -> bytes:
    from cryptography.hazmat.primitives import serialization as kinds

    made: bytes = key.private_bytes(
        kinds.Encoding.PEM, kinds.PrivateFormat.PKCS8, kinds.NoEncryption()
    )
    return made
