"""The simulation as a task of the scheduler service's planner, which may not import `replay`: the composition roots
(`cli.scheduler` and the simulator's clusters) hand it to the service.
"""

from typing import Any

from replay.types import SimulationAnswer, SimulationDocument
from scheduler.planner.port import JobContext, ServedTask


def simulate(document: Any, terms: JobContext) -> Any:  # noqa: ARG001 - the port's signature
    """`migsched simulate`; it has no time limit of its own, only the planner's deadline."""
    import replay
    from replay import config

    return replay.run(config.of_document(document))


SIMULATE = ServedTask(simulate, SimulationDocument, SimulationAnswer)
