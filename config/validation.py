"""What pydantic found wrong, in our words: what would do. Called where settings and the API's parameters are read.

Its own messages are about its library ("Extra inputs are not permitted"), and change with it. Its types of errors are
stable (pydantic documentation, "Validation Errors").
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

MISSING = "missing"
UNKNOWN = "extra_forbidden"
OURS = "value_error"  # raised by a validator of this repository, with words of its own

_CHOICES = re.compile(r"\^\(([^()]+)\)\$")

_Context = Mapping[str, Any]


def _pattern(context: _Context) -> str:
    choices = _CHOICES.fullmatch(str(context.get("pattern", "")))
    return f"use {choice(choices[1].split('|'))}" if choices else f"must match {context.get('pattern')}"


_FIXES: Mapping[str, Callable[[_Context], str]] = {
    MISSING: lambda _: "is missing; add it",
    UNKNOWN: lambda _: "is not known; leave it out",
    "string_pattern_mismatch": _pattern,
    "greater_than": lambda context: f"must be above {context['gt']:g}",
    "greater_than_equal": lambda context: f"must be at least {context['ge']:g}",
    "less_than": lambda context: f"must be below {context['lt']:g}",
    "less_than_equal": lambda context: f"must be at most {context['le']:g}",
    "literal_error": lambda context: f"use {context['expected']}",
    "enum": lambda context: f"use {context['expected']}",
    "finite_number": lambda _: "must be a finite number",
    "int_from_float": lambda _: "must be a whole number",
}
_BY_START = {  # of the type: int_type, int_parsing, int_parsing_size …
    "int": "must be a whole number",
    "float": "must be a number",
    "bool": "must be true or false",
    "string": "must be text",
    "path": "must be a path",
    "json": "must be JSON",
}


def fix(error: Mapping[str, Any]) -> str:
    """What would do instead, of one entry of `ValidationError.errors()`."""
    kind = str(error["type"])
    if kind == OURS:
        return str(error["ctx"]["error"])
    if kind in _FIXES:
        return _FIXES[kind](error.get("ctx") or {})
    return _BY_START.get(kind.partition("_")[0], "cannot be used here; see the documentation of this field")


def choice(names: list[str]) -> str:
    """`a`, `a or b`, `a, b or c`."""
    return " or ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
