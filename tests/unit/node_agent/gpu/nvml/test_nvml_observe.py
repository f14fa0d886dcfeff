import json

import pytest

from node_agent.gpu import device
from node_agent.gpu.nvml import __main__ as command
from node_agent.gpu.nvml.driver import Driver
from node_agent.gpu.nvml.observe import observe
from simulator.gpu.driver import SimulatedDriver, simulate
from simulator.gpu.faults import Call
from simulator.nvml.library import FakeLibrary


def driver() -> SimulatedDriver:
    made = simulate("a100-40gb:2")
    made.by_index()[1].create("3g.20gb", 4)
    return made


def test_everything_is_told_as_json() -> None:
    """Driver, GPUs, modes, catalogues, capacity and instances are told in values that JSON can carry."""
    told = json.loads(json.dumps(observe(Driver(FakeLibrary(driver())))))
    assert (told["driver"], told["nvml"]) == ("580.159.04", "13.580.159.04")
    first, second = told["gpus"]
    assert (first["state"], first["mode"]) == ("ready", {"current": True, "pending": True})
    assert [profile["name"] for profile in first["catalogue"]["profiles"]][:2] == ["1g.5gb", "1g.5gb+me"]
    assert (first["capacity"]["3g.20gb"], second["capacity"]["3g.20gb"]) == (2, 1)
    assert first["instances"] == []
    (made,) = second["instances"]
    assert (made["profile"], made["start"], made["compute_instances"][0]["size"]) == ("3g.20gb", 4, 3)


def test_nothing_is_changed() -> None:
    """Observing changes nothing, calls no function that could, and leaves the library shut down."""
    calls: list[str] = []
    seen = driver()
    library = FakeLibrary(seen)
    before = [gpu.instances() for gpu in seen.by_index()]
    observe(Driver(library, lambda name, *_: calls.append(name)))
    assert [gpu.instances() for gpu in seen.by_index()] == before
    changing = ("DeviceSet", "DeviceCreate", "InstanceCreate", "InstanceDestroy")
    assert not [name for name in calls if any(verb in name for verb in changing)]
    assert not library.session.initialised


def test_a_refusal_stands_where_the_answer_would() -> None:
    """What one GPU refuses to tell is told as a refusal, and the rest is there."""
    seen = driver()
    seen.faults.fail(Call.LIST, device.NoPermissionError, gpu=seen.by_index()[0].uuid)
    first, second = observe(Driver(FakeLibrary(seen)))["gpus"]
    assert "answered 4" in first["refused"]
    assert len(second["instances"]) == 1


def test_command_prints(capsys: pytest.CaptureFixture[str]) -> None:
    """The command prints what was observed and ends with 0."""
    assert command.main(Driver(FakeLibrary(driver()))) == 0
    assert len(json.loads(capsys.readouterr().out)["gpus"]) == 2


def test_command_without_driver(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a driver the command says so on stderr and ends with 2."""
    seen = driver()
    seen.unload()
    assert command.main(Driver(FakeLibrary(seen))) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "nvmlInit answered 9" in err
