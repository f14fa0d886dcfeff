"""Fields: the types that the planning documents share, each with its bounds.

The bounds stand here once: the reader (`document_reader`), the JSON Schema and the OpenAPI document of the API are made
from these types. Used by the `types` modules of plan, capacity, repack and replay.
"""

from typing import Annotated

import msgspec
from msgspec import Meta

MAX_COUNT = 1_000_000  # GPUs, slices, replicas: past any fleet, and past it the answer would not be exact
MAX_ENTRIES = 100_000  # entries of one list
MAX_NUMBER = 10**9
MAX_MODELS = 64  # GPU models of a fleet, profiles of a question, GPUs of a node

Text = Annotated[str, Meta(min_length=1, max_length=253, pattern=r"\S")]  # says something, and is fit to be shown
Key = Annotated[str, Meta(min_length=1)]  # a name of the writer's choice in a mapping
Count = Annotated[int, Meta(ge=0, le=MAX_COUNT)]
PositiveCount = Annotated[int, Meta(ge=1, le=MAX_COUNT)]
Number = Annotated[float, Meta(ge=0, le=MAX_NUMBER)]
PositiveNumber = Annotated[float, Meta(gt=0, le=MAX_NUMBER)]
Price = Number
GpusPerNode = Annotated[int, Meta(ge=1, le=MAX_MODELS)]
Profiles = Annotated[tuple[Text, ...], Meta(max_length=MAX_ENTRIES)]

GPUS_PER_NODE = 8  # unless a document says otherwise


class DocumentPart(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A part of a document that a person writes: an unknown key is an error, not a guess."""


class AnswerPart(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A part of an answer: it has these fields and no others. Fields that may be missing are UNSET."""
