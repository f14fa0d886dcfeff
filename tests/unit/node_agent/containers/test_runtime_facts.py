"""What is known of a node's container runtime, and when that is a reason to give containers no GPU."""

from pathlib import Path

import pytest

from node_agent.containers import runtime_facts
from node_agent.containers.conditions import Conditions
from node_agent.containers.inject import Inject
from node_agent.containers.runtime_facts import RuntimeFacts, doubts, problems

CDI_DIR = Path("/var/run/cdi")
OLD = "containerd://1.7.27"
NEW = "containerd://v2.1.4"


def containerd(etc: Path, text: str, version: str = OLD) -> RuntimeFacts:
    """The facts of a containerd with this configuration."""
    (etc / "containerd").mkdir(exist_ok=True)
    (etc / "containerd" / "config.toml").write_text(text)
    return runtime_facts.read(version, etc)


def plugin(text: str, name: str = "io.containerd.grpc.v1.cri", version: int = 2) -> str:
    """A configuration whose CRI plugin has these lines."""
    return f"version = {version}\n[plugins.'{name}']\n{text}\n"


def test_containerd_1_has_cdi_only_where_it_is_switched_on(tmp_path: Path) -> None:
    """CDI is off by default in 1.7: names would be dropped, and containers start without GPUs."""
    assert containerd(tmp_path, plugin("")).cdi is False
    facts = containerd(tmp_path, plugin("enable_cdi = false"))
    (problem,) = problems(Inject.CDI, facts)
    assert "enable_cdi = true" in problem
    assert "inject=env" in problem
    assert problems(Inject.RUNTIME, facts)
    assert problems(Inject.ENV, facts) == problems(Inject.MOUNTS, facts) == []
    assert problems(Inject.CDI, containerd(tmp_path, plugin("enable_cdi = true"))) == []


@pytest.mark.parametrize(("version", "cdi"), [(NEW, False), ("containerd://2.4.2", True)])
def test_containerd_2_has_cdi_unless_it_is_switched_off(tmp_path: Path, version: str, cdi: bool) -> None:
    """It is on by default from 2.0, and from 2.4 there is no switch any more."""
    name = "io.containerd.cri.v1.runtime"
    assert containerd(tmp_path, plugin("", name, 3), version).cdi is True
    assert containerd(tmp_path, plugin("enable_cdi = false", name, 3), version).cdi is cdi


def test_imported_files_count(tmp_path: Path) -> None:
    """The GPU Operator configures containerd by a file of its own; later files win."""
    (tmp_path / "containerd" / "conf.d").mkdir(parents=True)
    more = "[plugins.'io.containerd.grpc.v1.cri'.containerd]\ndefault_runtime_name = 'nvidia'\n"
    (tmp_path / "containerd" / "conf.d" / "99-nvidia.toml").write_text(f"{plugin('enable_cdi = true')}{more}")
    facts = containerd(tmp_path, "version = 2\nimports = ['/etc/containerd/conf.d/*.toml']\n")
    assert (facts.cdi, facts.default_runtime, facts.nvidia_is_default) == (True, "nvidia", True)


def test_specifications_must_be_where_the_runtime_looks(tmp_path: Path) -> None:
    """/run and /var/run are one place; another directory is said, with both: a mount may make them one."""
    assert doubts(Inject.CDI, containerd(tmp_path, plugin("enable_cdi = true")), Path("/run/cdi")) == []
    elsewhere = containerd(tmp_path, plugin("enable_cdi = true\ncdi_spec_dirs = ['/opt/cdi']"))
    (doubt,) = doubts(Inject.CDI, elsewhere, CDI_DIR)
    assert "/opt/cdi" in doubt
    assert "/var/run/cdi" in doubt


def test_ways_that_need_nvidias_runtime_say_so(tmp_path: Path) -> None:
    """Whether a pod names the RuntimeClass is not known here: a doubt, not a refusal."""
    facts = containerd(tmp_path, plugin("enable_cdi = true"))
    (doubt,) = doubts(Inject.RUNTIME, facts, CDI_DIR)
    assert "runtimeClassName: nvidia" in doubt
    assert doubts(Inject.CDI, facts, CDI_DIR) == []
    default = "[plugins.'io.containerd.grpc.v1.cri'.containerd]\ndefault_runtime_name = 'nvidia'\n"
    assert doubts(Inject.RUNTIME, containerd(tmp_path, plugin("enable_cdi = true") + default), CDI_DIR) == []


def test_cri_o_reads_specifications_always(tmp_path: Path) -> None:
    """Its configuration says the default runtime and the directories."""
    (tmp_path / "crio" / "crio.conf.d").mkdir(parents=True)
    (tmp_path / "crio" / "crio.conf.d" / "99-nvidia.conf").write_text("[crio.runtime]\ndefault_runtime = 'nvidia'\n")
    facts = runtime_facts.read("cri-o://1.32.4", tmp_path)
    assert (facts.cdi, facts.default_runtime) == (True, "nvidia")
    assert problems(Inject.CDI, facts) == []


@pytest.mark.parametrize("version", ["", "docker://27.1", "containerd://unknown", "x" * 10_000])
def test_another_runtime_is_unknown(tmp_path: Path, version: str) -> None:
    """Unknown is no reason to refuse."""
    facts = runtime_facts.read(version, tmp_path)
    assert facts.cdi is None
    assert facts.unknown
    assert problems(Inject.CDI, facts) == []


@pytest.mark.parametrize("content", [b"version = ", b"\xff\xfe", b"[" * 50_000, b"a" * (runtime_facts.MAX_BYTES + 1)])
def test_a_configuration_that_cannot_be_read_is_unknown(tmp_path: Path, content: bytes) -> None:
    """Damaged, deep or endless: it is said, and nothing is concluded."""
    (tmp_path / "containerd").mkdir()
    (tmp_path / "containerd" / "config.toml").write_bytes(content)
    facts = runtime_facts.read(OLD, tmp_path)
    assert facts.cdi is None
    assert "cannot be read" in facts.unknown


def test_odd_values_are_as_good_as_none(tmp_path: Path) -> None:
    """A table where a text belongs, a text where a table does."""
    facts = containerd(tmp_path, "imports = 7\nplugins = 'none'\n", NEW)
    assert (facts.cdi, facts.default_runtime) == (True, "runc")
    assert containerd(tmp_path, plugin("enable_cdi = 'yes'\ncontainerd = 1"), NEW).cdi is True


def test_conditions_say_what_is_so_and_since_when() -> None:
    """A condition's time is that of its last change of status or reason."""
    times = iter(("t1", "t2", "t3"))
    conditions = Conditions(Inject.CDI, CDI_DIR, None, lambda: next(times))
    assert [(one["status"], one["reason"]) for one in conditions.current()] == [("Unknown", "NotRead")]
    conditions.take(RuntimeFacts(NEW, True, "runc", ("/var/run/cdi",)))
    (fit,) = conditions.current()
    assert (fit["status"], fit["reason"], fit["lastTransitionTime"]) == ("True", "Fit", "t2")
    assert conditions.current() == [fit]
    assert conditions.unfit() is None
    conditions.take(RuntimeFacts(OLD, False, "runc"))
    (unfit,) = conditions.current()
    assert (unfit["status"], unfit["reason"], unfit["lastTransitionTime"]) == ("False", "Unfit", "t3")
    assert unfit["message"] == conditions.unfit()
