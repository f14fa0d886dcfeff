"""The entry point: commands, help, errors and exit codes."""

from collections.abc import Callable
from pathlib import Path

import pytest

import cli
from allocator import errors
from cli import __main__, main
from config import version
from tests.unit.cli.command_line import CommandLine

COMMANDS = [name for name in main.COMMANDS if (Path(cli.__file__).parent / f"{name}.py").exists()]


def test_every_command_module_is_offered(migsched: CommandLine) -> None:
    """Help lists exactly the commands that there are, in the order of the list."""
    offered = [line.split()[1] for line in migsched.run("--help").out.splitlines() if line.startswith("│ ")]
    assert [name for name in offered if name in main.COMMANDS] == COMMANDS
    assert {"demo", "cluster", "scheduler", "top", "explain"} <= set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_list_says_of_a_command_what_its_own_help_begins_with(command: str) -> None:
    """The list is written down so that it loads no command; each line is the first paragraph of that command's help."""
    assert main.COMMANDS[command] == " ".join(main.load(command).help.split("\n\n")[0].split())


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str, migsched: CommandLine) -> None:
    """Each command says what it is for."""
    outcome = migsched.run(command, "--help")
    assert outcome.code == 0
    assert f"{command} [OPTIONS]" in outcome.out


@pytest.mark.parametrize("command", ["demo", "cluster", "scheduler", "top", "explain"])
def test_help_shows_an_example(command: str, migsched: CommandLine) -> None:
    """Help ends with a command that can be copied."""
    assert f"Example: migsched {command}" in migsched.run(command, "--help").out


def test_without_a_command_it_shows_help(migsched: CommandLine) -> None:
    """Called alone it says what there is."""
    assert "Commands" in migsched.run().out


def test_unknown_command_is_bad_input(migsched: CommandLine) -> None:
    """A slip of the pen is exit code 2, with a pointer to help."""
    outcome = migsched.run("dmeo")
    assert outcome.code == 2
    assert "dmeo" in outcome.err
    assert "--help" in outcome.err


def test_errors_are_one_line_and_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    """An error of ours is one line on standard error, a group of them its first."""
    for raised in (
        errors.CatalogueError("model", "x", "use y"),
        ExceptionGroup("tasks", [ExceptionGroup("inner", [errors.CatalogueError("model", "x", "use y")])]),
    ):
        assert _said(raised, capsys) == "migsched: model: 'x': use y\n"


def test_settings_are_called_as_their_flags(capsys: pytest.CaptureFixture[str]) -> None:
    """A setting's error names the flag that sets it; a field that is no setting stays as it is."""
    assert _said(errors.SettingsError("api_port", 1, "is taken"), capsys) == "migsched: --api-port: 1: is taken\n"
    unreadable = errors.SettingsError("settings file", "x", "cannot be read")
    assert _said(unreadable, capsys) == "migsched: settings file: 'x': cannot be read\n"


def test_bugs_are_not_hidden() -> None:
    """What is no error of ours keeps its own traceback, alone or in a group with ours."""
    mixed = ExceptionGroup("tasks", [errors.CatalogueError("model", "x", "use y"), ZeroDivisionError()])
    for raised in (ZeroDivisionError(), mixed):
        with pytest.raises(ZeroDivisionError):
            main.main(_raising(raised))


def test_a_library_that_an_image_leaves_out_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    """A command whose library is not installed ends with 2 and says which one, and where to look; ours is a defect."""
    with pytest.raises(SystemExit) as ended:
        main.main(_raising(ModuleNotFoundError("No module named 'solver.core'", name="solver.core")))
    assert ended.value.code == 2
    assert "the Python library solver, which this image or environment leaves out; docs/images.md" in (
        capsys.readouterr().err
    )
    with pytest.raises(ModuleNotFoundError):
        main.main(_raising(ModuleNotFoundError("No module named 'cli.gone'", name="cli.gone")))


@pytest.mark.parametrize("name", ["-h", "--help"])
def test_help_has_a_short_name(name: str, migsched: CommandLine) -> None:
    """The group and each command know -h; the help says what exit codes mean."""
    for arguments in ((), ("top",), ("bench",), ("bench", "report")):
        outcome = migsched.run(*arguments, name)
        assert outcome.code == 0
        assert "Exit codes: 0 done; " in outcome.out
        assert "<bool>" not in outcome.out, "a switch takes no value"


@pytest.mark.parametrize("name", ["-V", "--version"])
def test_version(name: str, migsched: CommandLine) -> None:
    """The version is asked for by the names that people try first."""
    assert migsched.run(name).out == f"migsched {version.version()}\n"


@pytest.mark.parametrize(("slip", "meant"), [("toop", "top"), ("simluate", "simulate")])
def test_a_slip_of_the_pen_gets_the_nearest_command(slip: str, meant: str, migsched: CommandLine) -> None:
    """An unknown command is answered with the nearest one, an unknown flag with the nearest flags."""
    assert f"Did you mean '{meant}'?" in migsched.run(slip).err
    assert "--node" in migsched.run("top", "--nodde", "x").err


def test_as_a_plugin_it_calls_itself_so(migsched: CommandLine) -> None:
    """Installed as kubectl-mig it is `kubectl mig`, in usage and in errors."""
    assert "Usage: kubectl mig top" in migsched.run("top", "--help", program="/usr/bin/kubectl-mig").out
    assert "Try 'kubectl mig --help'" in migsched.run("toop", program="kubectl-mig").err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(shell: str, migsched: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each shell gets a script that asks the command line, which knows commands and their flags."""
    script = migsched.run("completion", shell).out
    assert "_MIGSCHED_COMPLETE=complete_" + shell in script
    monkeypatch.setenv("_MIGSCHED_COMPLETE", "complete_bash")
    for words, index, offered in (("migsched to", "1", "top"), ("migsched top --nod", "2", "--node")):
        monkeypatch.setenv("COMP_WORDS", words)
        monkeypatch.setenv("COMP_CWORD", index)
        assert offered in migsched.run().out.split()


def test_ctrl_c_while_the_libraries_load_ends_quietly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever changes their mind at once gets the exit code of a signal and no traceback."""
    monkeypatch.setattr(main, "main", _raising(KeyboardInterrupt()))
    with pytest.raises(SystemExit) as ended:
        __main__.main()
    assert ended.value.code == 130


def _said(error: Exception, capsys: pytest.CaptureFixture[str]) -> str:
    """What a command line that ends with this error says; its exit code is that of bad input."""
    with pytest.raises(SystemExit) as ended:
        main.main(_raising(error))
    said = capsys.readouterr()
    assert (ended.value.code, said.out) == (2, "")
    return said.err


def _raising(error: BaseException) -> Callable[[], None]:
    """Stands in for typer's application."""

    def run() -> None:
        raise error

    return run
