"""SchedulingMode: the two ways in which migsched decides, as demo and local cluster can show them."""

import enum

DEFAULT_SCHEDULER = "default-scheduler"


class SchedulingMode(enum.StrEnum):
    """How pods get their places. The value is that of the flag `--mode`."""

    QUEUE = "queue"  # pods wait at a gate for their place, and an ordinary kube-scheduler binds them there
    EXTENDER = "extender"  # pods name a kube-scheduler that asks our extender in its own cycle

    @property
    def words(self) -> str:
        """For people, in few words."""
        if self is SchedulingMode.QUEUE:
            return "queue, ordinary kube-scheduler"
        return "extender, pods name schedulerName: migsched"
