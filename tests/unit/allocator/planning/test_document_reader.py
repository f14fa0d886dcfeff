"""The reader of documents: what fits a type is read, what does not is named by field, value and fix."""

import enum
import re
from typing import Annotated, Any, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET, Meta, UnsetType

from allocator import errors
from allocator.planning import document_reader as reader
from allocator.planning.capacity.types import CapacityDocument
from allocator.planning.fields import Count, DocumentPart, Key, Number, PositiveNumber, Text
from allocator.planning.plan.types import PlanDocument
from allocator.planning.repack.types import RepackDocument
from replay.types import SimulationDocument


class Colour(enum.Enum):
    """Two words."""

    RED = "red"
    BLUE = "blue"


class Part(DocumentPart, frozen=True):
    """A part of the document below."""

    name: Text
    size: Count = 1


class Whole(DocumentPart, frozen=True):
    """A document with a field of every sort."""

    parts: Annotated[tuple[Part, ...], Meta(min_length=1, max_length=3, extra={reader.EMPTY_FIX: "write a part"})]
    weights: dict[Key, Number] | UnsetType = UNSET
    rate: PositiveNumber | None = None
    count: Count | Literal["unlimited"] = "unlimited"
    colour: Colour = Colour.RED
    names: tuple[Text, ...] | Text = ()
    idle: bool = False


GOOD: dict[Any, Any] = {"parts": [{"name": "a"}]}


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (None, "document: None: write a mapping with the keys parts, weights, rate, count, colour, names, idle"),
        ({}, "parts: None: is missing; add it"),
        ({"parts": []}, "parts: []: is empty; write a part"),
        ({"parts": [{"name": "a"}] * 4}, "parts: '4 entries': write at most 3"),
        ({"parts": [{}]}, "parts[0].name: None: is missing; add it"),
        ({"parts": [{"name": "a"}, "b"]}, "parts[1]: 'b': write a mapping with the keys name, size"),
        ({"parts": [{"name": " "}]}, "parts[0].name: ' ': write text of 1…253 characters"),
        ({"parts": [{"name": "a", "sise": 1}]}, "parts[0].sise: 1: unknown key; use name, size"),
        ({"parts": [{"name": "a", "size": True}]}, "parts[0].size: True: write a whole number of 0…1000000"),
        ({**GOOD, 5: 1}, "5: 1: unknown key; use parts, weights, rate, count, colour, names, idle"),
        ({**GOOD, "weights": {1: 1}}, "weights: 1: keys must be text"),
        ({**GOOD, "weights": {"": 1}}, "weights: '': keys must be text"),
        ({**GOOD, "weights": None}, "weights: None: write a mapping"),
        (
            {**GOOD, "weights": {"a": 1, "b.c": -1, "d": -2}},
            "weights.b.c: -1: write a number of at least 0, at most 1,000,000,000",
        ),
        ({**GOOD, "rate": float("nan")}, "rate: nan: write a number above 0, at most 1,000,000,000"),
        ({**GOOD, "rate": 10**400}, f"rate: {str(10**400)[:120]}…: write a number above 0, at most 1,000,000,000"),
        ({**GOOD, "count": -1}, "count: -1: write a whole number of 0…1000000"),
        ({**GOOD, "count": "many"}, "count: 'many': write a whole number of 0…1000000, or unlimited"),
        ({**GOOD, "count": None}, "count: None: write a whole number of 0…1000000, or unlimited"),
        ({**GOOD, "colour": "green"}, "colour: 'green': use one of red, blue"),
        ({**GOOD, "names": 3}, "names: 3: write a list, or text of 1…253 characters"),
        ({**GOOD, "names": ["a", 3]}, "names[1]: 3: write text of 1…253 characters"),
        ({**GOOD, "idle": "yes"}, "idle: 'yes': write true or false"),
        ({**GOOD, "colour": "\ud800"}, r"document: '\ud800': write text that UTF-8 can hold"),
    ],
)
def test_an_error_names_field_value_and_fix(document: Any, message: str) -> None:
    """A value that does not fit its type is refused with where it is, what it is and what the type allows there."""
    with pytest.raises(errors.InputError) as caught:
        reader.read(document, Whole)
    assert str(caught.value) == message


def test_a_number_without_a_fraction_is_whole() -> None:
    """As in JSON Schema, 3.0 is a whole number wherever one is wanted, and 3.5 is none."""
    read = reader.read({"parts": [{"name": "a", "size": 3.0}], "count": 2.0, "rate": 2.0}, Whole)
    assert (read.parts[0].size, read.count, read.rate) == (3, 2, 2.0)
    with pytest.raises(errors.InputError, match=r"parts\[0\].size: 3.5"):
        reader.read({"parts": [{"name": "a", "size": 3.5}]}, Whole)


def test_a_document_inside_itself_is_refused() -> None:
    """A YAML alias can put a list into itself; it fits no type and is refused in time."""
    endless: list[Any] = []
    endless += [endless] * 10
    with pytest.raises(errors.InputError) as caught:
        reader.read({"parts": endless, "count": 2.0}, Whole)
    assert caught.value.field == "parts"


TEXTS = st.sampled_from(["", " ", "a", "32k", "gpus"])
LEAVES = st.none() | st.booleans() | st.integers(-2, 2**40) | st.floats() | TEXTS
TYPES = (PlanDocument, CapacityDocument, RepackDocument, SimulationDocument)
KEYS = sorted(
    {
        field.encode_name
        for name in ("plan", "capacity", "repack")
        for type_ in vars(__import__(f"allocator.planning.{name}.types", fromlist=["types"])).values()
        if isinstance(type_, type) and issubclass(type_, DocumentPart)
        for field in msgspec.structs.fields(type_)
    }
    | set(SimulationDocument.__struct_fields__)
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*KEYS, "x"]), inner, max_size=4),
    max_leaves=20,
)


@given(st.sampled_from(TYPES), st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=5))
def test_whatever_does_not_fit_is_named(type_: type[DocumentPart], document: dict[str, Any]) -> None:
    """For any values a document is read, or refused at a field of it with a fix; the message is never msgspec's own."""
    try:
        read: DocumentPart | errors.InputError = reader.read(document, type_)
    except errors.InputError as error:
        read = error
    if isinstance(read, errors.InputError):
        assert re.split(r"[.\[]", read.field)[0] in (*document, "fleet")
        assert "`" not in read.fix
    else:
        assert isinstance(read, type_)
