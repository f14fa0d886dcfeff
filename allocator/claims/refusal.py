"""Refusal: why something was not done, as a value that cannot be taken for success.

A function that may refuse returns `Refusal | None`: None is success. Used where there are too many reasons for an enum
such as `placement.misfit`'s: by the inventory, by the scheduler's binder, and in what a report says of a GPU.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why not, in plain words."""

    message: str

    def __str__(self) -> str:
        return self.message
