"""The text of a document: YAML and JSON alike, and what is refused."""

import pytest

from allocator import errors
from config import document_text
from config.document_text import MAX_DEPTH


@pytest.mark.parametrize("spelled", ['{"rate": 1e3}', "rate: 1e3", "rate: 1000.0", '\ufeff{\n\t"rate": 1e+3}'])
def test_numbers_are_read_as_in_json(spelled: str) -> None:
    """A number with an exponent is a number in YAML too, and JSON may start with a mark and be set in with tabs."""
    assert document_text.load(spelled, "plan.yaml") == {"rate": 1000.0}


@pytest.mark.parametrize("spelled", ["1g.5gb: 1\n1g.5gb: 5", '{"1g.5gb": 1, "1g.5gb": 5}', "{1g.5gb: 1, 1g.5gb: 5}"])
def test_a_key_stands_once(spelled: str) -> None:
    """A key that stands twice is refused by name: one of the two would be lost."""
    with pytest.raises(errors.InputError, match=r"plan.yaml.*1g\.5gb.* stands twice in one mapping; keep one of them"):
        document_text.load(spelled, "plan.yaml")


def test_a_key_may_stand_in_two_mappings_and_override_a_merged_one() -> None:
    """Only keys that a mapping itself spells are compared."""
    assert document_text.load("x: &x {a: 1, b: 2}\ny: {<<: *x, a: 3}", "plan.yaml") == {
        "x": {"a": 1, "b": 2},
        "y": {"a": 3, "b": 2},
    }


def test_an_error_names_line_and_column() -> None:
    """What is no YAML is refused with the place, the line as it stands and the fix, in one line."""
    with pytest.raises(errors.InputError) as refused:
        document_text.load("fleet: []\ndemand: [", "plan.yaml")
    assert str(refused.value).startswith("plan.yaml: line 2, column 10: 'demand: [': write YAML or JSON (")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("opened", ["[", "{x: ", "- ", '{"x":'])
def test_depth_is_limited_before_it_costs_time(opened: str) -> None:
    """As many collections in one another as are allowed are read, one more is refused with place and fix."""
    closed = "" if opened == "- " else {"[": "]", "{": "}"}[opened[0]]
    document_text.load(opened * MAX_DEPTH + "1" + closed * MAX_DEPTH, "plan.yaml")
    for depth in (MAX_DEPTH + 1, 100_000):
        with pytest.raises(errors.InputError, match=r"yaml: line 1, .* too deeply; write at most 64 levels"):
            document_text.load(opened * depth, "plan.yaml")


@pytest.mark.parametrize(
    "spelled",
    [
        "a: " + "9" * 5000,
        "{a: 2024-99-99}",
        "a: \0",
        "!!python/name:os.x",
        "a: 1\n---\nb: 2",
    ],
    ids=["5000 digits", "no such day", "control character", "tag", "two documents"],
)
def test_what_no_document_can_be_is_refused(spelled: str) -> None:
    """Whatever the text, the error is of the one kind that the command line shows without a traceback."""
    with pytest.raises(errors.InputError, match=r"plan.yaml.* YAML or JSON"):
        document_text.load(spelled, "plan.yaml")


def test_aliases_do_not_pile_up() -> None:
    """A short text whose aliases of aliases stand for more values than memory holds is refused before it is shown."""
    lines = ["- &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"- &a{level + 1} [{', '.join([f'*a{level}'] * 9)}]" for level in range(12)]
    with pytest.raises(errors.InputError, match="aliases stand for more than 10,000,000 values; write fewer"):
        document_text.load("\n".join(lines), "plan.yaml")


def test_a_menu_may_be_written_once() -> None:
    """An alias repeats what its anchor names."""
    assert document_text.load("[&menu {a: 1}, *menu]", "plan.yaml") == [{"a": 1}, {"a": 1}]
