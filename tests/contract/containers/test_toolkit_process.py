"""How NVIDIA's toolkit is run: what it prints is bounded, how long it takes too, and what it says when it fails."""

import json
import time
from pathlib import Path

import pytest

from node_agent.containers.driver_root import DriverRoot
from node_agent.containers.toolkit import Toolkit, ToolkitError

PRINTED = json.loads((Path(__file__).parents[2] / "data" / "cdi_h200.json").read_text())


def toolkit(tmp_path: Path, script: str, timeout_s: float = 10.0) -> Toolkit:
    """A toolkit whose nvidia-ctk is a shell script."""
    programs = tmp_path / "programs"
    programs.mkdir()
    for mode, printed in PRINTED.items():
        (programs / f"{mode}.json").write_text(json.dumps(printed))
    for name, text in {"nvidia-ctk": f"#!/bin/sh\ncd {programs}\n{script}\n", "nvidia-cdi-hook": "#!/bin/sh\n"}.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    root = DriverRoot(tmp_path / "root", tmp_path / "root")
    return Toolkit(root, programs, tmp_path / "installed", timeout_s=timeout_s)


def test_nvml_is_asked_for_no_device(tmp_path: Path) -> None:
    """The common part needs none, whatever is cut; roots and the hook's path are the node's."""
    script = 'echo "$@" > arguments; cat nvml.json'
    described = toolkit(tmp_path, script).describe()
    assert described.edits == PRINTED["nvml"]["containerEdits"]
    arguments = (tmp_path / "programs" / "arguments").read_text().split()
    assert {"--mode=nvml", "--device-id=none", f"--driver-root={tmp_path / 'root'}", "--dev-root=/"} <= set(arguments)
    assert f"--nvidia-cdi-hook-path={tmp_path / 'programs' / 'nvidia-cdi-hook'}" in arguments


def test_without_nvml_the_files_alone_are_described(tmp_path: Path) -> None:
    """A toolkit that knows no --device-id, and a library that cannot be loaded, lead there."""
    script = 'case "$*" in *management*) cat management.json;; *) echo "flag not defined" >&2; exit 1;; esac'
    nodes = toolkit(tmp_path, script).describe().edits["deviceNodes"]
    assert [node["path"] for node in nodes] == ["/dev/nvidia-uvm", "/dev/nvidia-uvm-tools", "/dev/nvidiactl"]


def test_a_failure_says_both_reasons(tmp_path: Path) -> None:
    """What was written to standard error is in the message, cut to a length."""
    script = 'echo "because of $4" >&2; yes x | head -c 100000 >&2; exit 3'
    with pytest.raises(ToolkitError) as caught:
        toolkit(tmp_path, script).describe()
    assert "because of --mode=management" in str(caught.value)
    assert "because of --mode=nvml" in str(caught.value)
    assert "status 3" in str(caught.value)
    assert len(str(caught.value)) < 2_000


def test_a_toolkit_that_hangs_is_given_up(tmp_path: Path) -> None:
    """A hung driver must not hold the agent: both attempts end in time, with all their processes."""
    began = time.monotonic()
    with pytest.raises(ToolkitError, match="did not end within"):
        toolkit(tmp_path, "sleep 1000 & wait", timeout_s=0.3).describe()
    assert time.monotonic() - began < 10


def test_endless_output_is_refused(tmp_path: Path) -> None:
    """More than a specification's size is read from no toolkit."""
    with pytest.raises(ToolkitError, match="more than"):
        toolkit(tmp_path, "yes").describe()


def test_a_program_that_cannot_be_run_is_named(tmp_path: Path) -> None:
    """A file that is none is said."""
    made = toolkit(tmp_path, "")
    (tmp_path / "programs" / "nvidia-ctk").write_text("not a program")
    with pytest.raises(ToolkitError, match="nvidia-ctk cannot be run"):
        made.describe()
