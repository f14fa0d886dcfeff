"""Reads the Containerfile, so that what the images are is written once. Called by `build`.

Only what adds files and settings is read: FROM, ARG, ADD, ENV, LABEL, USER, ENTRYPOINT and CMD. An image that nothing
is run in needs no more, and any other instruction is refused. The same file is a valid one for other builders.
"""

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from testbed.image import errors

_LIST_SETTINGS = {"ENTRYPOINT": "Entrypoint", "CMD": "Cmd"}


@dataclass(slots=True)
class Stage:
    """What one target adds up to: the tar files of its layers, the lowest first, and its settings.

    `settings` is the `config` part of an OCI image configuration.
    """

    layers: list[str] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    arguments: dict[str, str] = field(default_factory=dict)

    def copy(self) -> "Stage":
        """A stage that begins with this one's layers and settings, and without its arguments."""
        return Stage([*self.layers], json.loads(json.dumps(self.settings)))


def read(text: str, arguments: Mapping[str, str]) -> dict[str, Stage]:
    """The stages of a Containerfile by name; `arguments` are values for its ARGs.

    Raises ImageError naming the line that cannot be read, or the argument that has no value.
    """
    stages: dict[str, Stage] = {}
    stage: Stage | None = None
    for number, line in _instructions(text):
        word, _, rest = line.partition(" ")
        try:
            if word == "FROM":
                stage = _from(rest.strip(), stages)
            elif stage is None:
                raise ValueError("an instruction before the first FROM")  # noqa: TRY301 - one message for all
            else:
                _apply(stage, word, rest.strip(), arguments)
        except ValueError as error:
            raise errors.ImageError(f"Containerfile:{number}: {line!r}: {error}") from error
    return stages


def _instructions(text: str) -> list[tuple[int, str]]:
    """The instructions with the number of their first line; continued lines joined, comments left out."""
    joined: list[tuple[int, str]] = []
    begun: tuple[int, str] | None = None
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        first, before = begun or (number, "")
        whole = f"{before} {stripped.removesuffix(chr(92)).strip()}".strip()
        begun = (first, whole) if stripped.endswith("\\") else None
        if begun is None:
            joined.append((first, whole))
    return joined


def _from(rest: str, stages: dict[str, Stage]) -> Stage:
    match = re.fullmatch(r"(\S+) AS (\S+)", rest)
    if match is None:
        raise ValueError("FROM needs a name: FROM base AS target")
    base, name = match.groups()
    if base != "scratch" and base not in stages:
        raise ValueError(f"{base} is no stage above: images are built from scratch")
    stages[name] = stages[base].copy() if base in stages else Stage()
    return stages[name]


def _apply(stage: Stage, word: str, rest: str, arguments: Mapping[str, str]) -> None:
    match word:
        case "ARG":
            name, _, default = rest.partition("=")
            stage.arguments[name] = arguments.get(name, default)
        case "ADD":
            archive, target = rest.split()
            if not archive.endswith(".tar") or target != "/":
                raise ValueError("only tar files are added, and only at /")
            stage.layers.append(archive)
        case "ENV":
            variables = stage.settings.setdefault("Env", [])
            variables += [f"{name}={value}" for name, value in _pairs(rest, stage).items()]
        case "LABEL":
            stage.settings.setdefault("Labels", {}).update(_pairs(rest, stage))
        case "USER":
            stage.settings["User"] = rest
        case "ENTRYPOINT" | "CMD":
            stage.settings[_LIST_SETTINGS[word]] = json.loads(rest)
        case _:
            raise ValueError(f"{word} is not read here")


def _pairs(rest: str, stage: Stage) -> dict[str, str]:
    pairs = {}
    for word in shlex.split(rest):
        name, equals, value = word.partition("=")
        if not equals:
            raise ValueError(f"{word!r} is not NAME=VALUE")
        pairs[name] = re.sub(r"\$\{(\w+)\}", lambda match: _value(stage, match[1]), value)
    return pairs


def _value(stage: Stage, name: str) -> str:
    value = stage.arguments.get(name, "")
    if not value:
        raise ValueError(f"{name} has no value")
    return value
