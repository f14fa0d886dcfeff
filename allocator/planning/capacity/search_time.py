"""SearchTime: what is left of a time limit that several searches share. Used by the capacity answers."""

from dataclasses import dataclass


@dataclass(slots=True)
class SearchTime:
    """Seconds that may still be searched, as the solver counts them."""

    left_s: float

    def share(self, part: float) -> float:
        """A part of what is left; never nothing, because a small question is answered in no time."""
        return max(0.02, self.left_s * part)

    def spend(self, seconds: float) -> None:
        """What a search took."""
        self.left_s -= seconds
