"""What the README shows is what the commands print."""

import os
import re
import subprocess
import sys
from pathlib import Path

README = Path(__file__).parents[2] / "README.md"


def test_the_plan_in_the_readme_is_what_the_command_prints() -> None:
    """The shown demand gives the shown layouts."""
    shown = re.search(
        r"\$ echo '(?P<demand>.*)' \| .venv/bin/migsched plan -\n(?P<output>.*?)```", README.read_text(), re.S
    )
    assert shown is not None
    done = subprocess.run(
        [sys.executable, "-m", "cli", "plan", "-"],
        env={name: value for name, value in os.environ.items() if name != "COLUMNS"},
        input=shown["demand"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert [line.rstrip() for line in shown["output"].splitlines()] == [
        line.rstrip() for line in done.stdout.splitlines()
    ]


def test_every_page_that_the_readme_links_is_there() -> None:
    """No dead relative link in README and docs."""
    pages = [README, *README.parent.joinpath("docs").rglob("*.md"), *README.parent.joinpath("benchmarks").glob("*.md")]
    dead = [
        f"{page.name}: {target}"
        for page in pages
        for target in re.findall(r"\]\((?!https?:|#)([^)#\s]+)", page.read_text())
        if not (page.parent / target).exists()
    ]
    assert dead == []
