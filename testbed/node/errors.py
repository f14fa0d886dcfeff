"""What can go wrong with a real node, beyond what can go wrong with any program. Raised by this package."""

from collections.abc import Sequence

from allocator import errors


class RealNodeError(errors.MigschedError):
    """A real node could not do what was asked."""


class MachineError(RealNodeError):
    """This machine cannot run a node.

    Attributes:
        missing: what it lacks, a sentence each.
    """

    def __init__(self, missing: Sequence[str]) -> None:
        super().__init__(f"this machine cannot run a Kubernetes node: {'; '.join(missing)}")
        self.missing = tuple(missing)


class PodError(RealNodeError):
    """A pod is not there, or has no container that runs."""
