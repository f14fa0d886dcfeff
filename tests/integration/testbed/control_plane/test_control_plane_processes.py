"""Supervised programs end when they should, all of them, and never anybody else's."""

import os
import select
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from testbed import errors, process_identity, processes

WaitUntil = Callable[[Callable[[], bool]], None]

REPOSITORY = Path(__file__).parents[4]
SLEEPER = ["/bin/sleep", "60"]
HEEDS_LIFELINE = [sys.executable, "-c", "import os; os.read(int(os.environ['MIGSCHED_LIFELINE_FD']), 1)"]


def shell(script: str) -> list[str]:
    return ["/bin/sh", "-c", script]


def ended(pidfd: int, seconds: float = 20) -> bool:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[processes.Supervisor]:
    started = processes.Supervisor(tmp_path / "run")
    yield started
    started.stop()


def test_stop_asks_first(supervisor: processes.Supervisor) -> None:
    """Stopping sends SIGTERM, waits for the end, removes the pid file, and may be repeated."""
    process = supervisor.start("sleeper", SLEEPER)
    pid_file = supervisor.directory / "pids" / "sleeper.pid"
    assert process_identity.read_running(pid_file) == process.pid
    assert process.exit_status is None
    assert process.stop() == -signal.SIGTERM
    assert process.stop() == -signal.SIGTERM
    assert not process.running
    assert not pid_file.exists()


def test_stop_kills_what_does_not_listen(supervisor: processes.Supervisor, wait_until: WaitUntil) -> None:
    """A program that ignores SIGTERM is killed when its time is over."""
    process = supervisor.start("deaf", shell("trap '' TERM; echo ready; while :; do sleep 60; done"))
    wait_until(lambda: process.log.read_text("ascii") == "ready\n")
    assert process.stop(timeout_s=0.01) == -signal.SIGKILL


def test_stop_ends_the_whole_group(supervisor: processes.Supervisor, wait_until: WaitUntil) -> None:
    """A child that ignores SIGTERM does not survive the program that left it behind in its process group."""
    process = supervisor.start("parent", shell("trap '' TERM; sleep 60 & trap - TERM; echo $!; wait"))
    wait_until(lambda: process.log.read_text("ascii").endswith("\n"))
    child = os.pidfd_open(int(process.log.read_text("ascii")))
    assert process.stop() == -signal.SIGTERM
    assert ended(child)
    os.close(child)


def test_a_program_that_ends_by_itself_tells_its_status(supervisor: processes.Supervisor) -> None:
    """The exit status is the program's own, and waiting for one that goes on is an error after the deadline."""
    assert supervisor.start("short", shell("exit 3")).wait(20) == 3
    with pytest.raises(errors.StartError, match="sleeper still runs after 0 s"):
        supervisor.start("sleeper", SLEEPER).wait(0)


def test_restart_runs_the_same_again(supervisor: processes.Supervisor, wait_until: WaitUntil) -> None:
    """A killed program comes back with arguments and environment; its log goes on, `describe` shows the new part."""
    process = supervisor.start("echo", shell('echo "$WORD $$"; sleep 60'), {"WORD": "hello"})
    wait_until(lambda: process.log.read_text("ascii") == f"hello {process.pid}\n")
    first = process.pid
    assert process.kill() == -signal.SIGKILL
    process.restart()
    assert process.pid != first
    wait_until(lambda: process.log.read_text("ascii") == f"hello {first}\nhello {process.pid}\n")
    assert process.describe("broke") == f"echo broke; log: {process.log}\n  | hello {process.pid}"


def test_a_running_name_is_taken(supervisor: processes.Supervisor) -> None:
    """A second program of a name is refused while the first runs, and replaces it afterwards."""
    first = supervisor.start("one", SLEEPER)
    with pytest.raises(errors.StartError, match="one runs already"):
        supervisor.start("one", SLEEPER)
    first.stop()
    second = supervisor.start("one", SLEEPER)
    assert supervisor.processes == (second,)


def test_a_program_that_is_not_there_is_named(supervisor: processes.Supervisor) -> None:
    """Starting a missing executable is an error that names it."""
    with pytest.raises(errors.StartError, match="ghost: cannot run /no/such/program: No such file"):
        supervisor.start("ghost", ["/no/such/program"])


def test_all_end_in_reverse_order(tmp_path: Path, wait_until: WaitUntil) -> None:
    """Stopping the supervisor ends what was started last first, since it needs the earlier ones."""
    supervisor, order = processes.Supervisor(tmp_path), tmp_path / "order"
    order.touch()
    for name in ("first", "second", "third"):
        process = supervisor.start(
            name, shell(f"trap 'echo {name} >> {order}; exit' TERM; echo ready; sleep 60 & wait")
        )
        wait_until(lambda process=process: process.log.read_text("ascii") == "ready\n")  # type: ignore[misc]
    supervisor.stop()
    supervisor.stop()
    assert order.read_text("ascii").split() == ["third", "second", "first"]


def test_a_directory_has_one_supervisor(supervisor: processes.Supervisor) -> None:
    """A directory that a living supervisor holds is refused to another, and free once that one stopped."""
    with pytest.raises(errors.StartError, match="is in use by another running control plane"):
        processes.Supervisor(supervisor.directory)
    supervisor.stop()
    processes.Supervisor(supervisor.directory).stop()


def test_programs_end_when_their_owner_is_killed(tmp_path: Path) -> None:
    """Every program reads end-of-file on its lifeline when the process that started it dies, whatever it dies of."""
    script = f"""
        import pathlib, threading
        from testbed import processes
        supervisor = processes.Supervisor(pathlib.Path({str(tmp_path)!r}))
        started = [supervisor.start(name, {HEEDS_LIFELINE!r}) for name in ("one", "two")]
        print(*(process.pid for process in started), flush=True)
        threading.Event().wait()
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, text=True, cwd=REPOSITORY
    ) as owner:
        assert owner.stdout is not None
        running = [os.pidfd_open(int(pid)) for pid in owner.stdout.readline().split()]
        assert [ended(pidfd, seconds=0) for pidfd in running] == [False, False]
        owner.kill()
    assert [ended(pidfd) for pidfd in running] == [True, True]
    for pidfd in running:
        os.close(pidfd)


def test_programs_live_on_when_the_thread_that_started_them_ends(supervisor: processes.Supervisor) -> None:
    """A program belongs to the process: the end of the thread that started it does not end it."""
    thread = threading.Thread(target=lambda: supervisor.start("program", HEEDS_LIFELINE))
    thread.start()
    thread.join()
    (process,) = supervisor.processes
    with pytest.raises(errors.StartError, match="still runs"):
        process.wait(0.05)


def test_what_a_dead_supervisor_left_is_ended(tmp_path: Path) -> None:
    """A program that a pid file names, and that is still the same, is ended by the next supervisor there."""
    (tmp_path / "pids").mkdir()
    with subprocess.Popen(SLEEPER, start_new_session=True) as leftover:
        process_identity.write(tmp_path / "pids" / "left.pid", leftover.pid)
        processes.Supervisor(tmp_path).stop()
        assert leftover.wait() == -signal.SIGKILL
    assert list((tmp_path / "pids").iterdir()) == []


@pytest.mark.parametrize("content", ["{pid} 1", "{pid}", "", "nonsense here", "{pid} {start} extra"])
def test_a_stranger_with_the_same_pid_is_left_alone(tmp_path: Path, content: str) -> None:
    """A pid file whose start time is not that of the process, or that cannot be read, ends nobody."""
    (tmp_path / "pids").mkdir()
    with subprocess.Popen(SLEEPER, start_new_session=True) as stranger:
        start = process_identity.start_time(stranger.pid)
        (tmp_path / "pids" / "x.pid").write_text(content.format(pid=stranger.pid, start=start), "ascii")
        assert process_identity.end_leftovers(tmp_path / "pids") == []
        assert stranger.poll() is None
        stranger.kill()


def test_a_pid_of_nobody_has_no_start_time() -> None:
    """A process that is gone has no start time, so no pid file can mean it."""
    with subprocess.Popen(["/bin/true"]) as gone:
        gone.wait()
    assert process_identity.start_time(gone.pid) is None
