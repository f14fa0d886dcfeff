"""Registry: the benchmarks of `migsched bench all`, in the order in which they run.

A benchmark answers one question by rows, which are plain JSON types with one meaning per column. `suite` runs them,
`ranges` judges their rows by the benchmark's name, the report shows them. A new benchmark is a file in `entries` and
a line here.
"""

from collections.abc import Sequence

from benchmarks.benchmark import Benchmark
from benchmarks.entries.agent import AGENT
from benchmarks.entries.answers import ANSWERS
from benchmarks.entries.crowd import CROWD
from benchmarks.entries.cycles import CYCLE
from benchmarks.entries.decisions import DECISIONS
from benchmarks.entries.extender import EXTENDER
from benchmarks.entries.fragmentation import FRAGMENTATION
from benchmarks.entries.interference import INTERFERENCE
from benchmarks.entries.moves import MOVES
from benchmarks.entries.overview import OVERVIEW
from benchmarks.entries.planning import PLANNING
from benchmarks.entries.policies import POLICIES
from benchmarks.entries.queueing import QUEUE
from benchmarks.entries.repacking import REPACKING
from benchmarks.entries.rivals import RIVALS
from benchmarks.entries.scheduler import SCHEDULER
from benchmarks.entries.sync import SYNC

BENCHMARKS = (
    POLICIES,
    FRAGMENTATION,
    QUEUE,
    DECISIONS,
    PLANNING,
    REPACKING,
    ANSWERS,
    EXTENDER,
    INTERFERENCE,
    CROWD,
    SYNC,
    OVERVIEW,
    CYCLE,
    AGENT,
    SCHEDULER,
    RIVALS,
    MOVES,
)


def find(names: Sequence[str]) -> Sequence[Benchmark]:
    """The benchmarks of these names, in the order of BENCHMARKS; all of them for none.

    Raises SettingsError for a name that no benchmark has.
    """
    from allocator import errors

    by_name = {benchmark.name: benchmark for benchmark in BENCHMARKS}
    for name in names:
        if name not in by_name:
            raise errors.SettingsError("only", name, "use one of " + ", ".join(by_name))
    return tuple(benchmark for benchmark in BENCHMARKS if not names or benchmark.name in names)
