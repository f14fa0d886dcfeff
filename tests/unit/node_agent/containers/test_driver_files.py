"""The driver's files: described once, again when they change, and never out of date in a specification."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from node_agent.allocation import AllocationError
from node_agent.containers.common_edits import CommonEdits
from node_agent.containers.conditions import Conditions
from node_agent.containers.driver_files import DriverFiles, DriverFilesError
from node_agent.containers.driver_root import DriverRoot
from node_agent.containers.inject import Inject
from node_agent.containers.runtime_facts import RuntimeFacts
from node_agent.containers.toolkit import ToolkitError
from tests.unit.node_agent.agent_on_node import AgentOnNode


class FolderDescriber:
    """A toolkit that names every library below a root, or fails."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.calls = 0
        self.failure: str | None = None
        self.meanwhile: list[Callable[[], object]] = []  # what happens after each description, as it is handed over

    def describe(self) -> CommonEdits:
        """See Describer."""
        self.calls += 1
        if self.failure is not None:
            raise ToolkitError(self.failure)
        files = sorted(path for path in (self.root / "usr/lib").iterdir() if path.is_file())
        mounts = [{"hostPath": str(path), "containerPath": f"/usr/lib/{path.name}"} for path in files]
        if self.meanwhile:
            self.meanwhile.pop(0)()
        return CommonEdits("0.5.0", {"env": ["NVIDIA_VISIBLE_DEVICES=void"], "mounts": mounts, "hooks": []})


class Driver:
    """Driver files in a folder, what describes them, and a clock."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.now = 0.0
        self.library = root / "usr/lib"
        self.library.mkdir(parents=True)
        self.module_version = root / "module-version"
        self.describer = FolderDescriber(root)
        self.files = DriverFiles(
            self.describer,
            DriverRoot(root, root),
            retry_s=5.0,
            clock=lambda: self.now,
            module_version=self.module_version,
        )

    def install(self, version: str) -> None:
        """An upgrade: every file has another name."""
        for path in self.library.iterdir():
            path.unlink()
        (self.library / f"libcuda.so.{version}").write_text(version)
        (self.library / f"libnvidia-ptxjitcompiler.so.{version}").write_text(version)

    def mounted(self) -> list[str]:
        """The names of what is mounted."""
        self.files.refresh()
        return [Path(path).name for path in self.files.current().mounted]


@pytest.fixture
def driver(tmp_path: Path) -> Driver:
    """An installed driver."""
    made = Driver(tmp_path / "driver")
    made.install("580")
    return made


def test_the_toolkit_is_asked_once_while_nothing_changes(driver: Driver) -> None:
    """A step costs some stat calls, not a process."""
    for _ in range(5):
        driver.mounted()
        driver.now += 60.0
    assert driver.describer.calls == 2  # the second shows that nothing changed during the first


def test_an_upgrade_is_described_anew(driver: Driver) -> None:
    """Files of other names are other files."""
    assert "libcuda.so.580" in driver.mounted()
    driver.install("590")
    assert driver.mounted() == ["libcuda.so.590", "libnvidia-ptxjitcompiler.so.590"]
    assert driver.describer.calls == 4


def test_a_file_that_is_replaced_under_its_name_is_noticed(driver: Driver) -> None:
    """The same name is not the same file."""
    driver.mounted()
    new = driver.library / "new"
    new.write_text("another driver of the same version")
    new.replace(driver.library / "libnvidia-ptxjitcompiler.so.580")
    driver.mounted()
    assert driver.describer.calls == 4


def test_another_kernel_module_is_noticed(driver: Driver) -> None:
    """The module's version counts, even where the files' names stay."""
    driver.mounted()
    driver.module_version.write_text("590")
    driver.mounted()
    assert driver.describer.calls == 4


def test_after_a_failure_there_are_no_edits(driver: Driver) -> None:
    """The old driver's edits point at nothing; the reason is said."""
    driver.mounted()
    driver.describer.failure = "no NVIDIA device nodes found"
    driver.install("590")
    driver.files.refresh()
    assert driver.files.trouble == "no NVIDIA device nodes found"
    with pytest.raises(DriverFilesError, match="no NVIDIA device nodes found"):
        driver.files.current()


def test_a_failure_is_tried_again_after_a_while_or_when_files_change(driver: Driver) -> None:
    """Not at each step; but a driver that arrives is seen at once."""
    driver.describer.failure = "not yet"
    for _ in range(3):
        driver.files.refresh()
    assert driver.describer.calls == 1
    driver.now += 5.0
    driver.files.refresh()
    assert driver.describer.calls == 2
    driver.describer.failure = None
    driver.install("590")
    assert "libcuda.so.590" in driver.mounted()


def test_what_changes_while_it_is_described_is_described_again(driver: Driver) -> None:
    """An installation that is under way is not taken for a whole driver, nor forgotten when it is done."""
    late = driver.library / "libnvidia-ml.so.580"
    driver.describer.meanwhile = [lambda: late.write_text("late")]
    assert "libnvidia-ml.so.580" in driver.mounted()
    driver.now += 60.0
    driver.describer.calls = 0
    driver.install("590")
    half = driver.library / "libcuda.so.590"
    driver.describer.meanwhile = [lambda: None, lambda: half.write_text("now it is whole")]
    driver.mounted()
    assert driver.describer.calls == 3  # the second saw half of it


def test_a_driver_that_keeps_changing_is_not_described(driver: Driver) -> None:
    """It is said, and tried again."""
    library = driver.library / "libcuda.so.580"
    driver.describer.meanwhile = [lambda n=n: library.write_text("x" * n) for n in range(20)]  # type: ignore[misc]
    driver.files.refresh()
    assert driver.files.trouble is not None
    assert "being replaced" in driver.files.trouble
    driver.describer.meanwhile.clear()
    driver.now += 5.0
    assert "libcuda.so.580" in driver.mounted()


def test_a_description_of_missing_files_is_refused(driver: Driver) -> None:
    """What the toolkit's cache still names, and is gone, is never written."""
    (driver.library / "libnvidia-ptxjitcompiler.so.580").unlink()
    (driver.library / "libnvidia-ptxjitcompiler.so.580").symlink_to("nowhere")
    original = driver.describer.describe

    class Dangling:
        """Names a dangling link, too."""

        def describe(self) -> CommonEdits:
            """See Describer."""
            common = original()
            path = str(driver.library / "libnvidia-ptxjitcompiler.so.580")
            mounts = [*common.edits["mounts"], {"hostPath": path, "containerPath": path}]
            return CommonEdits(common.version, {**common.edits, "mounts": mounts})

    files = DriverFiles(Dangling(), DriverRoot(driver.root, driver.root))
    files.refresh()
    assert files.trouble is not None
    assert "which is not there" in files.trouble


def test_all_problems_are_said_at_once(driver: Driver) -> None:
    """A runtime that drops names, and a driver that is not known: each with its fix."""
    driver.describer.failure = "install NVIDIA's container toolkit"
    driver.files.refresh()
    conditions = Conditions(Inject.CDI, Path("/run/cdi"), driver.files, lambda: "now")
    assert conditions.problems() == ["install NVIDIA's container toolkit"]
    conditions.take(RuntimeFacts("containerd://1.7.1", cdi=False))
    runtime, files = conditions.problems()
    assert "enable_cdi = true" in runtime
    assert files == "install NVIDIA's container toolkit"
    driver.describer.failure = None
    driver.install("590")
    driver.files.refresh()
    assert conditions.problems() == [runtime]


# What becomes of specifications


def bring_files(node: AgentOnNode, driver: Driver) -> None:
    """The agent starts anew, and brings the driver's files."""
    node.files = driver.files
    node.restart()


def named(node: AgentOnNode) -> set[str]:
    """The files that the specifications of slices name."""
    documents = [json.loads(path.read_text()) for path in node.specs.directory.glob("migsched-*.json")]
    return {Path(mount["hostPath"]).name for one in documents for mount in one["containerEdits"]["mounts"]}


def test_every_specification_is_rewritten_after_an_upgrade(node: AgentOnNode, driver: Driver) -> None:
    """Those of running containers too: one that is restarted gets the new files."""
    bring_files(node, driver)
    for name, start in (("a", 0), ("b", 1)):
        node.admit(node.bind(name, "1g.5gb", at=(node.place("1g.5gb", start),)))
    node.step()
    assert named(node) == {"libcuda.so.580", "libnvidia-ptxjitcompiler.so.580"}
    driver.install("590")
    assert node.step().ready
    assert named(node) == {"libcuda.so.590", "libnvidia-ptxjitcompiler.so.590"}
    assert len(node.specs.names()) == 2


def test_without_a_description_there_is_no_specification(node: AgentOnNode, driver: Driver) -> None:
    """No file may point at what is gone; when the driver is back, every container's name means something again."""
    bring_files(node, driver)
    node.admit(node.bind("a", "1g.5gb", at=(node.place("1g.5gb", 0),)))
    node.step()
    names = node.specs.names()
    driver.describer.failure = "install NVIDIA's container toolkit"
    driver.install("590")
    outcome = node.step()
    assert (outcome.ready, outcome.reason, outcome.message) == (
        False,
        "DriverFilesUnknown",
        "install NVIDIA's container toolkit",
    )
    assert list(node.specs.directory.iterdir()) == []
    driver.describer.failure = None
    driver.now += 10.0
    assert node.step().ready
    assert node.specs.names() == names


def test_allocate_is_refused_with_the_fix(node: AgentOnNode, driver: Driver) -> None:
    """Better no container than one without CUDA; the slice stays free, and nothing is granted."""
    driver.describer.failure = "install NVIDIA's container toolkit"
    bring_files(node, driver)
    node.step()
    with pytest.raises(AllocationError, match="install NVIDIA's container toolkit") as caught:
        node.admit(node.bind("a", "1g.5gb", at=(node.place("1g.5gb", 0),)))
    assert caught.value.retryable
    assert node.journal.grants == frozenset()


def test_allocate_notices_an_upgrade_before_the_next_step(node: AgentOnNode, driver: Driver) -> None:
    """What is handed out right after an upgrade has the new files."""
    bring_files(node, driver)
    node.step()
    driver.install("590")
    node.admit(node.bind("a", "1g.5gb", at=(node.place("1g.5gb", 0),)))
    assert named(node) == {"libcuda.so.590", "libnvidia-ptxjitcompiler.so.590"}
