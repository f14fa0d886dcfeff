"""What a validation found wrong is said in our words."""

from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from config import validation


class Form(BaseModel):
    """A field of each kind."""

    model_config = ConfigDict(extra="forbid")

    needed: int
    above: Annotated[float, Field(gt=0, lt=9)] = 1
    least: Annotated[int, Field(ge=1, le=9)] = 1
    name: str = ""
    one: Annotated[str, Field(pattern="^(a|b|c)$")] = "a"
    shape: Annotated[str, Field(pattern="^x+$")] = "x"
    literal: Literal["p", "q"] = "p"
    on: bool = False
    file: Path | None = None


@pytest.mark.parametrize(
    ("given", "fix"),
    [
        ({}, "is missing; add it"),
        ({"nedeed": 1}, "is not known; leave it out"),
        ({"needed": "many"}, "must be a whole number"),
        ({"needed": 1.5}, "must be a whole number"),
        ({"needed": None}, "must be a whole number"),
        ({"above": 0}, "must be above 0"),
        ({"above": 9}, "must be below 9"),
        ({"above": "x"}, "must be a number"),
        ({"least": 0}, "must be at least 1"),
        ({"least": 10}, "must be at most 9"),
        ({"name": 7}, "must be text"),
        ({"one": "d"}, "use a, b or c"),
        ({"shape": "y"}, "must match ^x+$"),
        ({"literal": "r"}, "use 'p' or 'q'"),
        ({"on": "perhaps"}, "must be true or false"),
        ({"file": 3}, "must be a path"),
    ],
)
def test_each_kind_of_error_says_what_would_do(given: dict[str, Any], fix: str) -> None:
    """None of the library's own sentences comes through."""
    with pytest.raises(ValidationError) as raised:
        Form(**{**({"needed": 1} if given and "nedeed" not in given else {}), **given})
    first = next(error for error in raised.value.errors() if "nedeed" not in given or error["loc"] == ("nedeed",))
    assert validation.fix(first) == fix


def test_what_is_not_foreseen_is_no_sentence_of_the_library() -> None:
    """A type of error that a later version brings has a general fix."""
    assert validation.fix({"type": "moon_phase", "msg": "Input should be a moon"}).startswith("cannot be used here")
