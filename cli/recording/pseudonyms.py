"""Pseudonyms: names of a recording replaced, the same name always by the same word. Used by `migsched replay --html`.

What is known to be a name is replaced wherever it stands, in sentences too. In sentences, what looks like a name (a
word with a dash or a digit) is replaced as well: better a word too many. Profiles, models, numbers and times stay.
"""

import re
from typing import Any

from cli.recording.page_state import RecordingError

_KINDS = {  # what a field of this key names
    "namespace": "namespace",
    "container": "container",
    "uuid": "gpu",
    "gpu": "gpu",
    "node": "node",
    "uid": "uid",
    "gang": "gang",
}
_OWNERS = frozenset(  # kinds of owners that say nothing of who made them
    {"Deployment", "ReplicaSet", "StatefulSet", "DaemonSet", "Job", "CronJob", "ReplicationController"}
)
_PREFIX = "anon-"  # of the words, so that none is somebody's name
_WORDS = frozenset({"state", "kind", "code", "mode", "phase", "what", "profile", "model", "resource", "version"})
_TIMES = frozenset({"time", "since", "created"})
_SECTIONS = frozenset({"totals", "history", "may", "mode", "version", "revision", "waiting_total"})
_TOKEN = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z?"  # a time
    r"|[A-Za-z0-9](?:[A-Za-z0-9_.-]*[A-Za-z0-9])?"
)
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z?")
_PROFILE = re.compile(r"(?:mig-)?\d+g\.\d+gb(?:[.+-][a-z.]+)?")
_PLAIN = re.compile(r"[A-Za-z.]+|[0-9.]+[a-zA-Z%]{0,3}")
_ENGLISH = frozenset({"kube-scheduler", "kube-scheduler's", "pod-to-be", "in-use"})
_MODEL = re.compile(r"(?:a|h|b|gb|gh|rtx)\d{2,4}(?:-[a-z0-9]+)*")


class Pseudonyms:
    """The words for names. Have it `learn` all documents before it `replace`s in any."""

    def __init__(self) -> None:
        self._words: dict[str, str] = {}
        self._learns = False
        self._numbers: dict[str, int] = {}

    @property
    def names(self) -> frozenset[str]:
        """All names that were replaced."""
        return frozenset(self._words)

    def learn(self, document: Any, section: str = "") -> None:
        """Know the names of a document, or of a part of it."""
        self._learns = True
        self._walk(document, section, "")
        self._learns = False

    def replace(self, document: Any, section: str = "") -> Any:
        """A document with other names."""
        return self._walk(document, section, "")

    def _walk(self, value: Any, section: str, key: str) -> Any:
        if isinstance(value, dict):
            return {name: self._walk(part, section or name, name) for name, part in value.items()}
        if isinstance(value, list):
            return [self._walk(part, section, key) for part in value]
        if not isinstance(value, str) or section in _SECTIONS:
            return value
        return self._replaced(value, section, key)

    def _replaced(self, text: str, section: str, key: str) -> str:
        if section == "profiles" and key != "limit":
            return text
        if key in _WORDS or (key in _TIMES and _TIME.fullmatch(text)):
            return text
        if key == "pod":
            return self._pod(text)
        if key == "owner":
            return self._owner(text)
        if key in ("name", "gone"):
            return self._word(text, "move" if section == "moves" else "node")
        kind = _KINDS.get(key)
        if kind is not None:
            return self._word(text, kind)
        if key == "moves":  # of a remedy: pods
            return self._pod(text)
        return self._sentence(text)

    def _pod(self, text: str) -> str:
        namespace, slash, pod = text.rpartition("/")
        return f"{self._word(namespace, 'namespace')}/{self._word(pod, 'pod')}" if slash else self._word(pod, "pod")

    def _owner(self, text: str) -> str:
        kind, slash, name = text.partition("/")
        word = kind if kind in _OWNERS else self._word(kind, "kind")
        return f"{word}{slash}{self._word(name, 'owner')}"

    def _word(self, name: str, kind: str) -> str:
        if not name:
            return name
        known = self._words.get(name)
        if known is None:
            number = self._numbers[kind] = self._numbers.get(kind, 0) + 1
            known = self._words[name] = f"{_PREFIX}{kind}-{number}"
        return known

    def _sentence(self, text: str) -> str:
        return _TOKEN.sub(lambda found: self._token(found[0]), text)

    def _token(self, token: str) -> str:
        if self._learns or token.startswith(_PREFIX):
            return token
        known = self._words.get(token)
        if known is not None:
            return known
        if _TIME.fullmatch(token) or _PROFILE.fullmatch(token) or _PLAIN.fullmatch(token) or token in _ENGLISH:
            return token
        return token if _MODEL.fullmatch(token) else self._word(token, "name")


def check(text: str, names: frozenset[str]) -> None:
    """Raise RecordingError if a name that was replaced is still there as a word of its own."""
    words = set(_TOKEN.findall(text))
    left = sorted(name for name in names if name in words and not _PLAIN.fullmatch(name))
    if left:
        raise RecordingError(f"{len(left)} names could not be replaced, such as one of {len(left[0])} characters")
