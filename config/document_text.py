"""Document text: a document as a person wrote it, YAML or JSON, taken to plain values without guessing.

Stricter than YAML libraries are: a key that stands twice is refused instead of silently losing one of the two. And
more faithful to JSON: `1e3` is a number. Called for the documents of the commands and of the API, and for mix files.
"""

import functools
import json
import re
from collections.abc import Sequence
from typing import Any

import yaml

from allocator import errors

MAX_VALUES = 10_000_000
MAX_DEPTH = 64  # of collections in one another; our documents need 8, and YAML's reader takes quadratic time with depth
_FIX = "write YAML or JSON"


def load(text: str, where: str) -> Any:
    """The values in a text; `where` is what errors call it. Raises InputError naming line, column and fix."""
    text = text.removeprefix("\ufeff")
    try:
        if text.lstrip()[:1] in ("{", "["):
            return _json(text, where)
    except (ValueError, RecursionError):
        pass  # YAML in braces, or an error that YAML's reader explains better
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        raise _marked(error, text, where) from error
    except RecursionError as error:
        raise errors.InputError(where, text[:40], f"is nested too deeply; {_FIX}") from error
    except (yaml.YAMLError, ValueError) as error:
        raise errors.InputError(where, text[:40], f"{_FIX} ({str(error).splitlines()[0]})") from error


def load_json(text: str, where: str) -> Any:
    """The values in a text that is JSON and nothing else. Raises InputError."""
    try:
        return _json(text, where)
    except (ValueError, RecursionError) as error:
        raise errors.InputError(where, text[:40], f"must be JSON: {error}") from error


def _json(text: str, where: str) -> Any:
    return json.loads(
        text, object_pairs_hook=lambda pairs: _mapping(pairs, where), parse_constant=functools.partial(_constant, where)
    )


def _constant(where: str, name: str) -> None:
    raise errors.InputError(where, name, "is not a number of JSON; write a finite one")


def _mapping(pairs: Sequence[tuple[str, Any]], where: str) -> dict[str, Any]:
    """JSON's object, unless a key stands twice."""
    mapping: dict[str, Any] = {}
    for key, value in pairs:
        if key in mapping:
            raise errors.InputError(f"{where}: key", key, "stands twice in one mapping; keep one of them")
        mapping[key] = value
    return mapping


def _marked(error: yaml.MarkedYAMLError, text: str, where: str) -> errors.InputError:
    mark = error.problem_mark or error.context_mark
    if mark is None:
        return errors.InputError(where, text[:40], f"{_FIX} ({error.problem})")
    line = text.splitlines()[mark.line] if mark.line < len(text.splitlines()) else ""
    fix = str(error.problem) if isinstance(error, _RefusedError) else f"{_FIX} ({error.problem})"
    return errors.InputError(f"{where}: line {mark.line + 1}, column {mark.column + 1}", line, fix)


class _RefusedError(yaml.MarkedYAMLError):
    """What is YAML, but is not taken."""


def _values(node: yaml.Node, known: dict[int, int]) -> int:
    """How many values a node stands for, with those that aliases repeat; a node inside itself counts once."""
    if id(node) not in known:
        known[id(node)] = 1
        if isinstance(node, yaml.MappingNode):
            known[id(node)] += sum(_values(key, known) + _values(value, known) for key, value in node.value)
        elif isinstance(node, yaml.SequenceNode):
            known[id(node)] += sum(_values(item, known) for item in node.value)
    return known[id(node)]


class _Loader(yaml.SafeLoader):
    """YAML's plain values: a key stands once, numbers are as in JSON too, depth is limited, aliases do not pile up."""

    def fetch_flow_collection_start(self, TokenClass: Any) -> None:  # noqa: N803 - the library's name
        self._refuse_depth(self.flow_level + 1 + len(self.indents))
        super().fetch_flow_collection_start(TokenClass)

    def add_indent(self, column: int) -> bool:
        added: bool = super().add_indent(column)
        self._refuse_depth(self.flow_level + len(self.indents))
        return added

    def _refuse_depth(self, depth: int) -> None:
        if depth > MAX_DEPTH:
            fix = f"is nested too deeply; write at most {MAX_DEPTH} levels"
            raise _RefusedError(problem=fix, problem_mark=self.get_mark())

    def get_single_node(self) -> Any:
        node = super().get_single_node()
        if node is not None and _values(node, {}) > MAX_VALUES:
            fix = f"its aliases stand for more than {MAX_VALUES:,} values; write fewer"
            raise _RefusedError(problem=fix, problem_mark=node.start_mark)
        return node

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        keys: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in keys:
                    fix = f"{key.value} stands twice in one mapping; keep one of them"
                    raise _RefusedError(problem=fix, problem_mark=key.start_mark)
                keys.add(key.value)
        return node


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)[eE][-+]?[0-9]+$"),
    list("-+.0123456789"),
)
