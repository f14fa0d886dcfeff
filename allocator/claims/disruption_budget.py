"""A disruption budget as planners respect it: pods of which only so many may be down at once.

Made by the scheduler from the cluster's PodDisruptionBudgets, kept in snapshot files, read by the planners.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DisruptionBudget:
    """A PodDisruptionBudget: how many of these pods (by UID) may be down at once more than are now."""

    namespace: str
    name: str
    disruptions_allowed: int
    pods: tuple[str, ...]
