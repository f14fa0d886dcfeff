"""NodeSelectorTerm: terms of which one must match a node, as pods and volumes have them. Asked by `verdict`.

The rules are those of Kubernetes' `NodeSelector`. Its API server refuses terms that mean nothing; one that came past it
is neither a match nor a mismatch here, and what it leaves open is said. `None` stands for that.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

NAME_FIELD = "metadata.name"  # the only field that Kubernetes allows
_WHOLE = re.compile(r"[+-]?[0-9]{1,19}", re.ASCII)
_INT64 = 2**63


@dataclass(frozen=True, slots=True)
class NodeSelectorRequirement:
    """What a label, or the node's name, has to be: one of `In NotIn Exists DoesNotExist Gt Lt` and its values."""

    key: str
    operator: str
    values: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NodeSelectorTerm:
    """Requirements on labels and fields, all of which must hold. One without any holds for no node."""

    expressions: tuple[NodeSelectorRequirement, ...] = ()
    fields: tuple[NodeSelectorRequirement, ...] = ()


def matches(terms: Sequence[NodeSelectorTerm], labels: Mapping[str, str] | None, name: str | None) -> bool | None:
    """Whether one of the terms holds; None if that cannot be told. Without a name, fields are not looked at, as
    Kubernetes does for volumes. `labels` are None where they are not known.
    """
    return _any(_term(term, labels, name) for term in terms if term.expressions or term.fields)


def _term(term: NodeSelectorTerm, labels: Mapping[str, str] | None, name: str | None) -> bool | None:
    on_fields = [_field(requirement, name) for requirement in term.fields] if name is not None else []
    return _all((*on_fields, *(holds(requirement, labels) for requirement in term.expressions)))


def _field(requirement: NodeSelectorRequirement, name: str) -> bool | None:
    if requirement.key != NAME_FIELD or len(requirement.values) != 1:
        return None
    same = requirement.values[0] == name
    return {"In": same, "NotIn": not same}.get(requirement.operator)


def holds(requirement: NodeSelectorRequirement, labels: Mapping[str, str] | None) -> bool | None:
    """Whether labels are as required; None if that cannot be told. `labels` are None where they are not known."""
    operator, values = requirement.operator, requirement.values
    if labels is None:
        return None
    value = labels.get(requirement.key)
    if operator in ("In", "NotIn"):
        return (value in values) is (operator == "In") if values else None
    if operator in ("Exists", "DoesNotExist"):
        return (value is not None) is (operator == "Exists") if not values else None
    if operator in ("Gt", "Lt"):
        limit = _integer(values[0]) if len(values) == 1 else None
        return None if limit is None else _compares(value, operator, limit)
    return None


def _compares(value: str | None, operator: str, limit: int) -> bool:
    number = None if value is None else _integer(value)
    return number is not None and (number > limit if operator == "Gt" else number < limit)


def _integer(text: str) -> int | None:
    """A 64-bit whole number as Go reads it."""
    if _WHOLE.fullmatch(text) is None:
        return None
    number = int(text)
    return number if -_INT64 <= number < _INT64 else None


def _all(parts: Iterable[bool | None]) -> bool | None:
    judged = list(parts)
    if False in judged:
        return False
    return None if None in judged else True


def _any(parts: Iterable[bool | None]) -> bool | None:
    judged = list(parts)
    if True in judged:
        return True
    return None if None in judged else False
