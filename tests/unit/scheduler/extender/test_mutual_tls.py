"""An extender that a scheduler outside its pod asks: over TLS, and of clients that show a certificate."""

import ssl
from pathlib import Path

import pytest

from allocator import errors
from scheduler import certificate, settings
from scheduler.service import Service
from simulator.cluster.memory_cluster.client import MemoryCluster
from simulator.cluster.memory_cluster.server import MemoryServer
from testbed.control_plane import certificates
from tests.client_certificates import Pair, client_of
from tests.unit.scheduler.extender import tls_calls


def pki(folder: Path) -> certificates.Certificates:
    folder.mkdir()
    return certificates.ensure(folder)


async def test_only_a_client_with_a_certificate_is_answered(tmp_path: Path) -> None:
    """The service answers a caller whose certificate is of the authority, and ends the talk with any other."""
    server = pki(tmp_path / "server")
    ours, others = client_of(tmp_path / "ours"), client_of(tmp_path / "others")
    chosen = settings.load(
        extender_port=0, api_port=0, api_host="127.0.0.1",
        extender_cert=server.serving, extender_key=server.serving_key, extender_client_ca=ours[0],
    )  # fmt: skip
    service = Service(chosen, MemoryCluster(MemoryServer()))
    await service.start()
    port = int(service.extender_url.rsplit(":", 1)[1])
    assert service.extender_url.startswith("https://")
    assert b"503" in await tls_calls.status(port, server.authority, ours)  # nothing is synced here
    for pair in (others, None):
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await tls_calls.status(port, server.authority, pair)
    await service.stop()


async def test_renewed_certificates_are_used_without_a_restart(tmp_path: Path) -> None:
    """New connections get the new certificate, and are asked for one of the new authority."""
    before, after = pki(tmp_path / "before"), pki(tmp_path / "after")
    old, new = client_of(tmp_path / "old"), client_of(tmp_path / "new")
    files = tuple(tmp_path / name for name in ("tls.crt", "tls.key", "ca.crt"))

    def install(pair: certificates.Certificates, client: Pair) -> None:
        for source, target in zip((pair.serving, pair.serving_key, client[0]), files, strict=True):
            target.with_suffix(".new").write_bytes(source.read_bytes())
            target.with_suffix(".new").rename(target)

    install(before, old)
    context = certificate.server_context(files[0], files[1], setting="extender", client_ca=files[2], check_s=0)
    async with tls_calls.answering(context) as port:
        await tls_calls.status(port, before.authority, old)
        install(after, new)
        await tls_calls.status(port, after.authority, new)
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await tls_calls.status(port, after.authority, old)


@pytest.mark.parametrize("left_out", ["extender_cert", "extender_key", "extender_client_ca", ""])
async def test_the_three_files_belong_together(left_out: str, tmp_path: Path) -> None:
    """Some without the others, or files that are none, are an error that names the setting."""
    file = tmp_path / "pem"
    file.write_text("none")
    given = {name: file for name in ("extender_cert", "extender_key", "extender_client_ca") if name != left_out}
    chosen = settings.load(extender_port=0, api_port=0, api_host="127.0.0.1", **given)
    service = Service(chosen, MemoryCluster(MemoryServer()))
    with pytest.raises(errors.SettingsError, match="extender_cert"):
        await service.start()
    await service.stop()
