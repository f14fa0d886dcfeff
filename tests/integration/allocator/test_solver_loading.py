"""The solver, which is slow to load, is loaded by what solves and by nothing else."""

import subprocess
import sys


def test_the_scheduler_s_path_never_loads_the_solver() -> None:
    """Importing any of the core, planners included, loads no solver; planning loads it when it solves."""
    code = (
        "import sys; from allocator.claims import inventory, snapshot_file;"
        "from allocator.planning import capacity, plan, repack;"
        "assert 'ortools' not in sys.modules;"
        "plan.answer({'fleet': [{'model': 'a30-24gb'}], 'demand': {'1g.6gb': 1}});"
        "assert 'ortools' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
