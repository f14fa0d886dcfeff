"""DocumentReader: from what a person wrote to a document's type, with errors naming field, value and fix.

A document arrives as plain mappings, lists, numbers and text. msgspec decides whether it is of the type; where it is
not, `_problem` finds the first value that does not fit and says what the type allows there. The texts of all fixes are
in `_fix`. What no type can say (whether a model offers a profile) is checked afterwards, with `number` and `one_of`.
Called by plan, capacity, repack and replay.
"""

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, TypeVar

import msgspec
from msgspec import inspect

from allocator import errors
from allocator.mig.profile import is_mig_resource, profile_name
from allocator.planning.fields import MAX_NUMBER

T = TypeVar("T")

DECIMALS = 6  # digits after the point that count in rates and prices
EMPTY_FIX = "empty"  # key in a type's `extra`: what to write into a list that must not be empty
FIX = "fix"  # key in a type's `extra`: what to write, where the bounds alone do not say it well


_Problems = Iterator[errors.InputError | None]


def read(value: Any, document: type[T]) -> T:
    """The value as a document of this type. Raises InputError naming the field, the value and the fix."""
    try:
        return msgspec.convert(value, document)
    except UnicodeEncodeError as error:
        raise _half_character(error) from None
    except msgspec.ValidationError:
        node = inspect.type_info(document)
        whole = _whole_numbers(value, node)
    try:
        return msgspec.convert(whole, document)
    except UnicodeEncodeError as error:
        raise _half_character(error) from None
    except msgspec.ValidationError as error:
        raise _problem(whole, node, "") or errors.InputError("document", whole, str(error)) from None


def check(document: msgspec.Struct) -> None:
    """Raise InputError for a field that is not of its type: a constructor does not look at values."""
    problem = _problem(msgspec.to_builtins(document), inspect.type_info(type(document)), "")
    if problem is not None:
        raise problem


def number(value: Any, where: str, *, positive: bool = False) -> Decimal:
    """A number of at least 0, or above it, exactly; digits past the sixth after the point are rounded away."""
    fix = f"write a number {'above' if positive else 'of at least'} 0, at most {MAX_NUMBER:,}"
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise errors.InputError(where, value, fix)
    try:
        exact = Decimal(str(value))
        if not exact.is_finite() or abs(exact) > MAX_NUMBER:
            raise errors.InputError(where, value, fix)
        exact = exact.quantize(Decimal(1).scaleb(-DECIMALS)).normalize()
    except InvalidOperation:
        raise errors.InputError(where, value, fix) from None
    if exact < 0 or (positive and exact == 0):
        raise errors.InputError(where, value, fix)
    return exact


def one_of(value: str, where: str, among: Collection[str]) -> str:
    """The value, if it is among these, which only the rest of the question tells."""
    if value not in among:
        raise errors.InputError(where, value, "use one of " + ", ".join(among))
    return value


def profile(name: str, where: str) -> str:
    """A profile's name, also where it is written as the resource that pods ask for (`nvidia.com/mig-1g.5gb.me`)."""
    if not is_mig_resource(name):
        return name
    try:
        return profile_name(name)
    except errors.RequestError as error:
        raise errors.InputError(where, name, error.fix) from None


def profiles(counts: Mapping[str, int], where: str) -> dict[str, int]:
    """Counts by profile, resource names as profiles, those of one profile added up."""
    named: dict[str, int] = {}
    for name, count in counts.items():
        known = profile(name, at(where, name))
        named[known] = named.get(known, 0) + count
    return named


def at(where: str, key: object) -> str:
    """The name of a field inside another."""
    return f"{where}.{key}" if where else str(key)


def _half_character(error: UnicodeEncodeError) -> errors.InputError:
    """YAML can spell half a character; no type takes it."""
    return errors.InputError("document", error.object[error.start : error.end], "write text that UTF-8 can hold")


# --- the first value that does not fit its type ---


def _problem(value: Any, node: inspect.Type, where: str) -> errors.InputError | None:
    """What is wrong with a value, None if nothing is."""
    bare = _bare(node)
    if isinstance(bare, inspect.UnionType):
        return _union_problem(value, node, where)
    if _has_kind(value, bare):
        if isinstance(bare, inspect.StructType):
            return _first(_struct_problems(value, bare, where))
        if isinstance(bare, inspect.DictType):
            return _first(_dict_problems(value, bare, where))
        if isinstance(bare, inspect.ListType | inspect.VarTupleType):
            return _first(_list_problems(value, node, bare, where))
        if _in_bounds(value, bare):
            return None
    return errors.InputError(where or "document", value, _fix(node))


def _first(problems: _Problems) -> errors.InputError | None:
    return next((problem for problem in problems if problem is not None), None)


def _union_problem(value: Any, node: inspect.Type, where: str) -> errors.InputError | None:
    """The problem with the alternative that is meant, as far as the value's kind tells; else what all of them allow."""
    alternatives = _alternatives(node)
    if any(_problem(value, alternative, where) is None for alternative in alternatives):
        return None
    meant = [alternative for alternative in alternatives if _has_kind(value, _bare(alternative))]
    if len(meant) == 1 and not isinstance(value, str):
        return _problem(value, meant[0], where)
    return errors.InputError(where or "document", value, _fix(node))


def _struct_problems(value: Mapping[Any, Any], node: inspect.StructType, where: str) -> _Problems:
    names = {field.encode_name: field for field in node.fields}
    for key in value:
        if key not in names:
            yield errors.InputError(at(where, key), value[key], "unknown key; use " + ", ".join(names))
    for name, field in names.items():
        if field.required and name not in value:
            yield errors.InputError(at(where, name), None, "is missing; add it")
    for name, field in names.items():
        if name in value:
            yield _problem(value[name], field.type, at(where, name))


def _dict_problems(value: Mapping[Any, Any], node: inspect.DictType, where: str) -> _Problems:
    for key, member in value.items():
        if not isinstance(key, str) or not key:
            yield errors.InputError(where, key, "keys must be text")
        yield _problem(member, node.value_type, at(where, key))


def _list_problems(
    value: Collection[Any], node: inspect.Type, bare: inspect.ListType | inspect.VarTupleType, where: str
) -> _Problems:
    if bare.max_length is not None and len(value) > bare.max_length:
        yield errors.InputError(where, f"{len(value)} entries", f"write at most {bare.max_length}")
    if len(value) < (bare.min_length or 0):
        yield errors.InputError(where, value, f"is empty; {_extra(node, EMPTY_FIX) or 'write at least one entry'}")
    for number_, member in enumerate(value):
        yield _problem(member, bare.item_type, f"{where}[{number_}]")


def _has_kind(value: Any, bare: inspect.Type) -> bool:
    """Whether a value is of the sort that a type takes: a mapping, a list, text, a number, true or false, or null."""
    match bare:
        case inspect.StructType() | inspect.DictType():
            return isinstance(value, Mapping)
        case inspect.ListType() | inspect.VarTupleType():
            return isinstance(value, list | tuple)
        case inspect.IntType():
            return isinstance(value, int) and not isinstance(value, bool)
        case inspect.FloatType():
            return isinstance(value, int | float) and not isinstance(value, bool)
        case inspect.BoolType():
            return isinstance(value, bool)
        case inspect.NoneType():
            return value is None
        case inspect.AnyType():
            return True
        case _:
            return isinstance(value, str)


def _in_bounds(value: Any, bare: inspect.Type) -> bool:
    """Whether a value of the right kind is one that the type allows."""
    match bare:
        case inspect.IntType() | inspect.FloatType():
            above = (bare.ge is None or value >= bare.ge) and (bare.gt is None or value > bare.gt)
            return above and (bare.le is None or value <= bare.le)
        case inspect.StrType():
            long_enough = (bare.min_length or 0) <= len(value) <= (bare.max_length or len(value))
            return long_enough and (bare.pattern is None or re.search(bare.pattern, value) is not None)
        case inspect.LiteralType() | inspect.EnumType():
            return value in _words(bare)
        case _:
            return True


# --- what a type allows, in words ---


def _fix(node: inspect.Type) -> str:
    """What to write instead of a value that a type does not take."""
    given = _extra(node, FIX)
    if given:
        return given
    bare = _bare(node)
    if isinstance(bare, inspect.UnionType):
        return _union_fix(node)
    return _FIXES[type(bare)](bare)


def _number_fix(bare: inspect.FloatType) -> str:
    if bare.le is None:
        return "write a number"
    low = f"of at least {bare.ge:g}" if bare.ge is not None else f"above {bare.gt:g}"
    return f"write a number {low}, at most {bare.le:,}"


def _words_fix(bare: inspect.LiteralType | inspect.EnumType) -> str:
    return "use one of " + ", ".join(_words(bare))


_FIXES: Mapping[type[inspect.Type], Callable[[Any], str]] = {
    inspect.StructType: lambda bare: "write a mapping with the keys " + ", ".join(f.encode_name for f in bare.fields),
    inspect.DictType: lambda _: "write a mapping",
    inspect.ListType: lambda _: "write a list",
    inspect.VarTupleType: lambda _: "write a list",
    inspect.IntType: lambda bare: f"write a whole number of {bare.ge}…{bare.le}",
    inspect.FloatType: _number_fix,
    inspect.BoolType: lambda _: "write true or false",
    inspect.NoneType: lambda _: "write null",
    inspect.StrType: lambda bare: f"write text of {bare.min_length}…{bare.max_length} characters",
    inspect.LiteralType: _words_fix,
    inspect.EnumType: _words_fix,
}


def _union_fix(node: inspect.Type) -> str:
    """What all alternatives allow; null needs no mention, since the key can be left out."""
    fixes: list[str] = []
    for alternative in _alternatives(node):
        match _bare(alternative):
            case inspect.NoneType():
                continue
            case inspect.LiteralType() as words if fixes:
                fixes.append(", ".join(_words(words)))
            case _:
                fixes.append(_fix(alternative).removeprefix("write " if fixes else ""))
    return ", or ".join(fixes)


def _words(bare: inspect.LiteralType | inspect.EnumType) -> list[str]:
    if isinstance(bare, inspect.EnumType):
        return [str(member.value) for member in bare.cls]
    return [str(word) for word in bare.values]


def _bare(node: inspect.Type) -> inspect.Type:
    """The type without the notes on it."""
    return node.type if isinstance(node, inspect.Metadata) else node


def _alternatives(node: inspect.Type) -> tuple[inspect.Type, ...]:
    bare = _bare(node)
    return bare.types if isinstance(bare, inspect.UnionType) else (node,)


def _extra(node: inspect.Type, key: str) -> str:
    return str((node.extra or {}).get(key, "")) if isinstance(node, inspect.Metadata) else ""


# --- whole numbers ---


def _whole_numbers(value: Any, node: inspect.Type) -> Any:
    """The value with 3.0 as 3 where the type wants a whole number, as JSON Schema has it."""
    for alternative in map(_bare, _alternatives(node)):
        if isinstance(alternative, inspect.IntType) and isinstance(value, float) and value.is_integer():
            return int(value)
        if not isinstance(value, str) and _has_kind(value, alternative):
            match alternative:
                case inspect.StructType(fields=fields):
                    types = {field.encode_name: field.type for field in fields}
                    return {k: _whole_numbers(v, types[k]) if k in types else v for k, v in value.items()}
                case inspect.DictType(value_type=of_values):
                    return {k: _whole_numbers(v, of_values) for k, v in value.items()}
                case inspect.ListType(item_type=of_items) | inspect.VarTupleType(item_type=of_items):
                    return [_whole_numbers(v, of_items) for v in value]
    return value
