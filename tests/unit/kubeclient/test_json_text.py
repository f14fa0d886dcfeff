"""JSON text is cut and divided without recursion, in time that grows with its length only."""

import json
import re
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubeclient import json_text

scalars = st.none() | st.booleans() | st.integers() | st.text() | st.sampled_from(["{", "]", '"[', "\\", '\\"}'])
documents = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=40)


def cut(document: Any, depth: int) -> Any:
    """A document without what is nested deeper; what is empty stays, since it holds nothing."""
    if not document or not isinstance(document, dict | list):
        return document
    if depth == 0:
        return None
    if isinstance(document, dict):
        return {key: cut(value, depth - 1) for key, value in document.items()}
    return [cut(value, depth - 1) for value in document]


@given(document=documents, depth=st.integers(1, 4), indent=st.none() | st.integers(0, 2))
def test_a_text_is_cut_where_it_is_too_deep(document: Any, depth: int, indent: int | None) -> None:
    """What is nested more deeply is null, all else is as it was, however the text is laid out."""
    text = json.dumps(document, indent=indent, ensure_ascii=False).encode(errors="surrogatepass")
    after = json.loads(json_text.thinned(text, depth).decode(errors="surrogatepass"))
    assert without_empty(after) == without_empty(cut(document, depth))


def without_empty(document: Any) -> Any:
    """A document in which empty lists, empty objects and null are the same."""
    if isinstance(document, dict):
        return {key: without_empty(value) for key, value in document.items()} or None
    return [without_empty(value) for value in document] or None if isinstance(document, list) else document


pages = st.lists(st.dictionaries(st.text(max_size=8), documents, max_size=3), max_size=5)


@given(items=pages, meta=st.dictionaries(st.text(max_size=3), scalars, max_size=5))
def test_a_page_is_divided_into_its_items(items: list[Any], meta: dict[str, Any]) -> None:
    """Each item is a text by itself, and what is left is the page without any."""
    page = {"kind": "List", "metadata": meta, "items": items, "more": [{"items": [{"x": 1}]}]}
    rest, texts = json_text.divided(json.dumps(page).encode())
    assert [json.loads(text) for text in texts] == items
    assert json.loads(rest) == page | {"items": []}


@pytest.mark.parametrize(
    "text", [b"", b"5", b"{}", b'{"items": 5}', b'{"metadata": {"items": [{}]}}', b'{"items": [{"a": 1}']
)
def test_a_text_without_items_is_left_alone(text: bytes) -> None:
    """What is no list, or breaks off, has no items."""
    assert json_text.divided(text) == (text, [])


@pytest.mark.parametrize(
    "text",
    [
        b"{" * 300_000,
        b"]" * 300_000,
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        b'"' + b'\\"' * 300_000,
        b'"' * 300_001 + b"[",
        b"{}" * 300_000,
        b'{"a":"' + b"\\" * 300_001,
        bytes(range(256)) * 2_000,
    ],
    ids=["opening", "closing", "deep", "string without an end", "quotes", "empty", "escapes", "all bytes"],
)
def test_no_text_takes_long(text: bytes) -> None:
    """The worst texts take a time that grows with their length alone: by its square they would take minutes."""
    began = time.process_time()
    json_text.thinned(text)
    json_text.divided(text)
    assert time.process_time() - began < 10


def test_the_number_of_brackets_is_bounded() -> None:
    """A text with too many is refused, with the bound."""
    assert json_text.thinned(b"[[1],[2]]", 1, brackets_max=6) == b"[null,null]"
    with pytest.raises(json_text.TooManyBracketsError, match=re.escape("more than 5 brackets")):
        json_text.thinned(b"[[1],[2]]", 1, brackets_max=5)
