"""`migsched agent` as a process: what keeps it from starting is told at once, and what comes later does not stop it."""

import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from tests.waiting import eventually

SECONDS = 60.0


def arguments(directory: Path, port: int) -> list[str]:
    """A command line of an agent over simulated GPUs, without kubelet, whose API server does not answer."""
    nowhere = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
        "clusters": [{"name": "k", "cluster": {"server": "http://127.0.0.1:1"}}],
        "users": [{"name": "u", "user": {}}],
    }
    kubeconfig = directory / "kubeconfig"
    kubeconfig.touch(mode=0o600)
    kubeconfig.write_text(yaml.safe_dump(nowhere))
    flags = {
        "--node": "n1",
        "--simulate": "a100-40gb:1",
        "--kubeconfig": kubeconfig,
        "--state-dir": directory / "state",
        "--cdi-dir": directory / "cdi",
        "--device-plugin-dir": directory / "plugins",
        "--pod-resources-socket": directory / "pod-resources.sock",
        "--plugin-registry-dir": directory / "registry",
        "--metrics-host": "127.0.0.1",
        "--metrics-port": port,
    }
    return [sys.executable, "-m", "cli", "agent", *(str(part) for flag in flags.items() for part in flag)]


@contextmanager
def taken_port() -> Iterator[int]:
    """A port on which somebody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield int(listener.getsockname()[1])


def is_alive(port: int) -> bool:
    """Whether the agent's probe answers."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/livez", timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def test_all_that_keeps_it_from_starting_is_one_message(tmp_path: Path) -> None:
    """A damaged journal and a taken port are told together, with what the agent would have waited for."""
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "journal.json.0").write_text("no journal")
    with taken_port() as port:
        done = subprocess.run(arguments(tmp_path, port), capture_output=True, timeout=SECONDS, text=True, check=False)
    assert done.returncode == 2
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("migsched: node n1: 5 preconditions are not met: (1) journal: ")
    for part in ("cannot listen on 127.0.0.1", "plugins does not exist", "PodResources", "API server"):
        assert part in last


async def test_a_kubelet_and_an_api_server_that_come_later_do_not_stop_it(tmp_path: Path) -> None:
    """While a node boots the agent runs without them, says so in its log, and listens on a port of its own."""
    with taken_port() as port:
        pass
    process = subprocess.Popen(arguments(tmp_path, port), stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        await eventually(lambda: process.poll() is not None or is_alive(port), "the agent answers", SECONDS)
        assert process.poll() is None
    finally:
        process.terminate()
        out, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, err
    assert "not all preconditions are met" in out + err
