"""`migsched capacity`: what it asks, what it keeps, and how its exit code answers."""

import json
from pathlib import Path

import pytest

from allocator import snapshot_file
from tests.unit.cli.command_line import CommandLine, serving

CLUSTER = Path(__file__).parents[3] / "docs" / "examples" / "cluster.json"


@pytest.mark.parametrize(("profile", "code"), [("1g.5gb", 0), ("4g.20gb", 1)])
def test_the_exit_code_says_whether_the_requests_fit(
    migsched: CommandLine, tmp_path: Path, profile: str, code: int
) -> None:
    """0 where all pods asked about fit together, 1 where they do not, which the answer explains."""
    document = tmp_path / "asked.yaml"
    document.write_text(f"requests: [{{profiles: {{{profile}: 1}}}}]")
    ended = migsched.run("capacity", str(document), "--snapshot", str(CLUSTER), "-o", "json")
    assert ended.code == code
    assert json.loads(ended.out)["requests"]["fit"] is (code == 0)


def test_a_live_cluster_is_kept_whole(migsched: CommandLine, tmp_path: Path) -> None:
    """--save writes what the scheduler told: pods' facts, budgets and notes too."""
    told = CLUSTER.read_bytes()
    kept = tmp_path / "kept.json"
    with serving({"/api/v1/snapshot": (200, told)}) as url:
        assert migsched.run("capacity", "--api-url", url, "--save", str(kept)).code == 0
    saved = snapshot_file.decode(kept.read_text())
    assert saved == snapshot_file.decode(told)
    assert (len(saved.pods), len(saved.budgets)) == (4, 1)
