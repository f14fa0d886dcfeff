"""Errors about input: what stood where, told safely."""

from allocator import errors


def test_a_field_that_holds_somebodys_key_is_told_in_plain_characters() -> None:
    """Control characters of a field reach no terminal; what can be printed stays as it is."""
    hostile = errors.InputError("demand.\x1b[31mred\n", 1, "name a profile")
    assert str(hostile) == "demand.\\x1b[31mred\\n: 1: name a profile"
    assert errors.InputError("größe", 1, "x").field == "größe"


def test_a_long_value_is_cut() -> None:
    """A message repeats the beginning of a bad value, not all of it."""
    error = errors.InputError("field", "x" * 10_000, "be brief")
    assert len(str(error)) < 200
    assert error.value == "x" * 10_000
