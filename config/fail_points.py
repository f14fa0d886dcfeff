"""FailPoints: named places of the services where a test makes a process die, wait, fail or read damaged bytes.

Armed in the environment of the process, for a suite that looks at what becomes of the cluster:

    MIGSCHED_FAIL_POINTS="binder.bound=kill@3 client.answer=damage@5 journal.write=delay:0.5"

`point=action`, as many as wanted. `@N` acts only the N-th time that the point is passed, otherwise each time. Nothing
is armed unless `arm` is called, and what is not armed costs a look at an empty mapping. Every point is listed in
`POINTS` and in docs/reliability.md.
"""

import asyncio
import errno
import os
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import structlog

from allocator import errors

VARIABLE = "MIGSCHED_FAIL_POINTS"
MAX_DELAY_S = 60.0
_log = structlog.get_logger("fail-points")


class FailAction(StrEnum):
    """What happens at a point."""

    KILL = "kill"  # the process ends as by SIGKILL: nothing is flushed, nothing is told
    DELAY = "delay"  # it waits for the seconds after the colon
    FAIL = "fail"  # the point raises OSError, as a network or a disk does
    DAMAGE = "damage"  # bytes that pass are cut or altered


_HARD = frozenset({FailAction.KILL, FailAction.DELAY})
_EDGE = frozenset({FailAction.KILL, FailAction.DELAY, FailAction.FAIL})

POINTS: Final[Mapping[str, frozenset[FailAction]]] = {
    "binder.reserved": _HARD,  # a place is claimed, the Binding is not sent
    "binder.bound": _HARD,  # the API server has answered, the claim is not confirmed
    "queue.held": _HARD,  # a place is claimed for a gated pod, its release is not sent
    "queue.nominated": _HARD,  # a gated pod's status names its node, the gate is still there
    "queue.released": _HARD,  # the API server has answered a release, the queue does not know it
    "queue.evicted": _HARD,  # the API server has evicted a pod for a queued one, the next is not asked for
    "moves.writing": _HARD,  # a Repack's next state is decided, its status is not written
    "moves.written": _HARD,  # it is written, and nothing that it announces is done
    "reflector.list": _HARD,  # a whole listing is about to replace what was known
    "reflector.change": _HARD,  # one change is about to be applied
    "client.request": _EDGE,  # a call is about to be sent
    "client.answer": _EDGE | {FailAction.DAMAGE},  # an answer has come
    "client.event": _EDGE | {FailAction.DAMAGE},  # a line of a watch has come
    "agent.step": _HARD,  # what the kubelet lists is known, nothing is decided
    "agent.report": _HARD,  # the MigNode is about to be written
    "journal.write": _EDGE,  # the journal is about to be written
    "journal.written": _HARD,  # it is durable, nobody was told
}


@dataclass
class _Armed:
    action: FailAction
    seconds: float
    only_at: int  # the N-th pass; 0: each
    passes: int = 0

    def acts(self) -> bool:
        self.passes += 1
        return self.only_at in (0, self.passes)


_armed: dict[str, _Armed] = {}


def arm(environment: Mapping[str, str]) -> None:
    """Arm what the environment asks for, instead of what was armed. Raises SettingsError naming value and fix."""
    text = environment.get(VARIABLE, "")
    _armed.clear()
    _armed.update(_read(part) for part in text.split())
    if _armed:
        _log.warning("fail points are armed: this process will fail on purpose", points=text)


def reach(point: str) -> None:
    """A thread passes a point. Raises OSError where that is armed."""
    if not _armed or (armed := _acting(point)) is None:
        return
    if armed.action is FailAction.DELAY:
        time.sleep(armed.seconds)
    else:
        _end(point, armed.action)


async def pass_by(point: str) -> None:
    """A task passes a point: only it waits. Raises OSError where that is armed."""
    if not _armed or (armed := _acting(point)) is None:
        return
    if armed.action is FailAction.DELAY:
        await asyncio.sleep(armed.seconds)
    else:
        _end(point, armed.action)


async def carry(point: str, content: bytes) -> bytes:
    """Bytes pass a point: they come out as they were, unless damage is armed. Raises OSError where that is armed."""
    if not _armed or (armed := _acting(point)) is None:
        return content
    if armed.action is FailAction.DAMAGE:
        return _damaged(content, armed.passes)
    if armed.action is FailAction.DELAY:
        await asyncio.sleep(armed.seconds)
    else:
        _end(point, armed.action)
    return content


def _acting(point: str) -> _Armed | None:
    armed = _armed.get(point)
    if armed is None or not armed.acts():
        return None
    _log.warning("a fail point acts", point=point, action=armed.action.value, passes=armed.passes)
    return armed


def _end(point: str, action: FailAction) -> None:
    if action is FailAction.KILL:
        os.kill(os.getpid(), signal.SIGKILL)
    raise OSError(errno.EIO, f"fail point {point}")


def _damaged(content: bytes, passes: int) -> bytes:
    """Half of it, or all of it with something that is no text in the middle, in turns."""
    half = len(content) // 2
    return content[:half] if passes % 2 else content[:half] + b"\xff\x00" + content[half + 2 :]


def _read(part: str) -> tuple[str, _Armed]:
    point, _, rest = part.partition("=")
    act, _, nth = rest.partition("@")
    name, _, seconds = act.partition(":")
    if point not in POINTS:
        raise errors.SettingsError(VARIABLE, point, "is not a fail point; use one of " + ", ".join(POINTS))
    if name not in POINTS[point]:
        raise errors.SettingsError(VARIABLE, part, f"{point} takes one of " + ", ".join(sorted(POINTS[point])))
    action = FailAction(name)
    return point, _Armed(action, _seconds(part, action, seconds), _pass_number(part, nth))


def _seconds(part: str, action: FailAction, text: str) -> float:
    if action is not FailAction.DELAY:
        if text:
            raise errors.SettingsError(VARIABLE, part, f"{action} takes no seconds")
        return 0.0
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds <= MAX_DELAY_S:
        raise errors.SettingsError(VARIABLE, part, f"write delay:SECONDS, above 0 and at most {MAX_DELAY_S:g}")
    return seconds


def _pass_number(part: str, text: str) -> int:
    if not text and "@" not in part:
        return 0
    if not (text.isascii() and text.isdigit()) or not 0 < int(text) <= 10**9:
        raise errors.SettingsError(VARIABLE, part, "write the number of the pass after @, from 1 on")
    return int(text)
