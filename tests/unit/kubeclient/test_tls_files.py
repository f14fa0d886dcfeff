"""The TLS context follows the files that it was made from."""

import shutil
import ssl
from pathlib import Path

import pytest

from kubeclient.tls_files import TlsFiles
from testbed.control_plane import certificates


@pytest.fixture
def authority(tmp_path: Path) -> Path:
    """A certificate authority in a file."""
    return certificates.ensure(tmp_path).authority


def following(file: Path, check_s: float = 0.0) -> TlsFiles:
    """A context that trusts the authority in a file."""
    return TlsFiles(lambda: ssl.create_default_context(cafile=str(file)), lambda: (str(file), None), check_s=check_s)


def renew(file: Path) -> None:
    """Put another authority into the file's place."""
    (file.parent / "new").mkdir()
    shutil.copy(certificates.ensure(file.parent / "new").authority, file)


def test_a_context_is_made_again_when_its_file_changed(authority: Path) -> None:
    """An unchanged file leaves the context as it is; another certificate in it makes another context, once."""
    tls = following(authority)
    first = tls.context()
    assert tls.context() is first
    renew(authority)
    second = tls.context()
    assert second is not first
    assert second.get_ca_certs() != first.get_ca_certs()
    assert tls.context() is second


def test_files_are_looked_at_now_and_then(authority: Path) -> None:
    """Between two looks the context costs no system call."""
    tls = following(authority, check_s=3600.0)
    first = tls.context()
    renew(authority)
    assert tls.context() is first


def test_a_file_that_cannot_be_used_changes_nothing(authority: Path) -> None:
    """What is missing or half written leaves the context as it was, until it can be read again."""
    tls = following(authority)
    first = tls.context()
    authority.write_text("half")
    assert tls.context() is first
    authority.unlink()
    assert tls.context() is first
    renew(authority)
    assert tls.context() is not first


@pytest.mark.parametrize("text", [None, "nothing"])
def test_at_the_start_the_files_must_be_usable(tmp_path: Path, text: str | None) -> None:
    """A missing file or one without a certificate is an error of whoever makes the context."""
    file = tmp_path / "ca.crt"
    if text is not None:
        file.write_text(text)
    with pytest.raises(OSError, match=r"No such file|certificate"):
        following(file)


def test_certificates_are_judged_as_kubernetes_own_clients_judge_them(authority: Path) -> None:
    """Whatever Python's default is, a certificate need not name the key that signed it; it must still be valid."""

    def strict() -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(authority))
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        return context

    tls = TlsFiles(strict, lambda: (str(authority),), check_s=0.0)
    first = tls.context()
    renew(authority)
    second = tls.context()
    assert second is not first
    for context in (first, second):
        assert not context.verify_flags & ssl.VERIFY_X509_STRICT
        assert context.verify_mode is ssl.CERT_REQUIRED
        assert context.check_hostname
