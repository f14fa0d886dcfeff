"""Objects that cannot be read are named, once each, and within a bound."""

import pytest
import structlog.testing

from kubeclient.changes import UnreadableObject
from kubeclient.unreadable import UnreadableObjects


def unreadable(name: str, reason: str = "why") -> UnreadableObject:
    """One of them."""
    return UnreadableObject("ns", name, f"uid-{name}", reason)


def titles(objects: UnreadableObjects) -> list[str]:
    """What is named."""
    return [one.title for one in objects]


def test_each_object_is_logged_once() -> None:
    """However often an object comes, the log names it once, with kind, name, UID and reason."""
    objects = UnreadableObjects("pods")
    with structlog.testing.capture_logs() as logs:
        for _ in range(3):
            objects.add(unreadable("a"))
            objects.replace([unreadable("a"), unreadable("b")])
    assert [(line["kind"], line["object"], line["uid"], line["reason"]) for line in logs] == [
        ("pods", "ns/a", "uid-a", "why"),
        ("pods", "ns/b", "uid-b", "why"),
    ]


def test_what_is_gone_is_forgotten() -> None:
    """An object that went or was read is named no more, nor is one that a list does not show."""
    objects = UnreadableObjects("pods")
    objects.replace([unreadable("a"), unreadable("b"), unreadable("c")])
    objects.forget("uid-b")
    assert titles(objects) == ["ns/a", "ns/c"]
    objects.replace([unreadable("c")])
    assert (titles(objects), len(objects)) == (["ns/c"], 1)


def test_no_more_than_a_bound_are_kept() -> None:
    """Of thousands of them the first are named."""
    objects = UnreadableObjects("pods", kept_max=3)
    objects.replace(unreadable(str(number)) for number in range(100))
    assert titles(objects) == ["ns/0", "ns/1", "ns/2"]


@pytest.mark.parametrize(
    ("namespace", "name", "title"), [("ns", "a", "ns/a"), ("", "a", "a"), ("", "", "an object without a name")]
)
def test_an_object_has_a_title(namespace: str, name: str, title: str) -> None:
    """People are told what there is to tell."""
    assert UnreadableObject(namespace, name, "", "").title == title
