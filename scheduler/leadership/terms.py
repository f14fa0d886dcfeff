"""LeaseTerms: which lease, and its times. Made of settings, kept by `elector`."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LeaseTerms:
    """Which lease, and its times in seconds: how long it lasts unrenewed, after how long without a renewal its holder
    stops, and how often it is looked at.
    """

    namespace: str
    name: str
    duration_s: int = 15
    renew_deadline_s: float = 10.0
    retry_s: float = 2.0
