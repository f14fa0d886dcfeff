"""WorkloadState: what a step of a scenario waits for."""

import enum


class WorkloadState(enum.StrEnum):
    """What has become of a workload's pods."""

    RUNNING = "running"  # all that are wanted run
    WAITING = "waiting"  # at least one has no place, and was told why
    PROPOSED = "proposed"  # moves are proposed for its pod, or it runs already
    DRAINED = "drained"  # the nodes that were drained have none of it, and all run
    OUT_OF_SERVICE = "out of service"  # the GPU under it takes no new work
    IN_SERVICE = "in service"  # all GPUs take work
