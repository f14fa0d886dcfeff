"""Certificates and keys of the local control plane, made without openssl. Called by `control_plane`.

Elliptic-curve keys throughout: an RSA key takes up to half a second, these take none, and Kubernetes takes both.
"""

import datetime as dt
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from testbed.control_plane import private_files, service_network

_VALID = dt.timedelta(days=365)
_SKEW = dt.timedelta(hours=1)  # a clock that is set back a little does not make a certificate not yet valid
_ADDRESSES = ("127.0.0.1", "::1", service_network.API_SERVER)
_DNS_NAMES = ("localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc")


@dataclass(frozen=True, slots=True)
class Certificates:
    """Paths of PEM files."""

    authority: Path  # certificate of the authority that clients trust
    serving: Path  # certificate of every server, for 127.0.0.1, localhost and pods
    serving_key: Path
    service_account_key: Path  # signs and verifies service account tokens


def ensure(directory: Path, names: Sequence[str] = ()) -> Certificates:
    """The certificates in `directory`, making them where they do not exist yet.

    `names` are DNS names of servers besides those of the API server on loopback.
    """
    made = Certificates(
        authority=directory / "ca.crt",
        serving=directory / "serving.crt",
        serving_key=directory / "serving.key",
        service_account_key=directory / "sa.key",
    )
    if not made.service_account_key.exists():  # written last
        _write_all(made, names)
    return made


# Python 3.13 refuses an authority that does not say what it signs, and a certificate that does not name the key that
# signed it.
_SIGNS_CERTIFICATES = x509.KeyUsage(
    key_cert_sign=True,
    crl_sign=True,
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    encipher_only=False,
    decipher_only=False,
)


def _write_all(paths: Certificates, more_names: Sequence[str]) -> None:
    authority_key = ec.generate_private_key(ec.SECP256R1())
    serving_key = ec.generate_private_key(ec.SECP256R1())
    authority_name = _name("migsched-local-ca")
    authority = (
        _certificate(authority_name, authority_name, authority_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_SIGNS_CERTIFICATES, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(authority_key.public_key()), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    names: list[x509.GeneralName] = [x509.DNSName(name) for name in (*_DNS_NAMES, *more_names)]
    names += [x509.IPAddress(ipaddress.ip_address(address)) for address in _ADDRESSES]
    serving = (
        _certificate(_name("migsched-local"), authority_name, serving_key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    paths.authority.parent.mkdir(parents=True, exist_ok=True)
    paths.authority.write_bytes(authority.public_bytes(serialization.Encoding.PEM))
    paths.serving.write_bytes(serving.public_bytes(serialization.Encoding.PEM))
    private_files.write(paths.serving_key, _pem(serving_key))
    private_files.write(paths.service_account_key, _pem(ec.generate_private_key(ec.SECP256R1())))


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _certificate(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(now + _VALID)
    )


def _pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    ).decode()
