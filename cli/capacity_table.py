"""What `migsched capacity` prints for people and as CSV."""

from collections.abc import Mapping
from typing import Any

from msgspec import UNSET
from rich.console import Group, RenderableType
from rich.text import Text

from allocator.planning.capacity.types import (
    CapacityAnswer,
    Change,
    ChangeVerdict,
    GpusChange,
    MovedPod,
    MovesChange,
    ProfileChange,
    ProfileRoom,
    ReplicaRoom,
    RequestsFit,
)
from cli import answers, output, repack

_NODES = 6  # of a request's nodes that are named
_WORDS = {
    ChangeVerdict.NONE: "no",
    ChangeVerdict.UNDECIDED: "undecided",
    ChangeVerdict.NOT_LOOKED_AT: "not looked at",
}
_KINDS = {"moves": "restarts", "profile": "other profiles", "gpus": "more GPUs"}


def draw(answer: CapacityAnswer) -> RenderableType:
    """The whole answer."""
    free = output.number(answer.free_memory_slices, "free memory slice")
    parts: list[RenderableType] = [Text.assemble((answers.gpus(answer.gpus), "bold"), f"   ({free})")]
    if answer.profiles:
        parts.append(_profiles(answer.profiles))
    if answer.requests is not UNSET:
        parts += ["", *_requests(answer.requests)]
    if answer.replicas is not UNSET:
        parts += ["", _replicas(answer.replicas)]
    if answer.move is not UNSET:
        parts += ["", *_move(answer.move)]
    if answer.notes is not UNSET:
        parts += [Text(f"note: {note}", style="dim") for note in answer.notes]
    return Group(*parts)


def rows(answer: CapacityAnswer) -> list[dict[str, Any]]:
    """A row per profile, with how many more slices of it fit."""
    return [
        {
            "profile": name,
            "now": room.now,
            "after_repack": room.after_repack,
            "proven": room.proven,
            **({} if room.with_added is UNSET else {"with_added": room.with_added}),
            **({} if room.with_added_proven is UNSET else {"with_added_after_repack": room.with_added_after_repack}),
            **({} if room.with_added_proven is UNSET else {"with_added_proven": room.with_added_proven}),
        }
        for name, room in answer.profiles.items()
    ]


def _profiles(profiles: Mapping[str, ProfileRoom]) -> RenderableType:
    """Slices, which are GPU instances, of each profile alone."""
    added = any(room.with_added is not UNSET for room in profiles.values())
    numbers = ("NOW", "AFTER A REPACK", *(("WITH ADDED", "ADDED, AFTER A REPACK") if added else ()))
    table = answers.table("MORE SLICES OF", *numbers, numbers=numbers)
    for name, room in profiles.items():
        cells = [str(room.now), _number(room.after_repack, proven=room.proven)]
        if room.with_added_after_repack is not UNSET:
            cells += [str(room.with_added), _number(room.with_added_after_repack, proven=bool(room.with_added_proven))]
        table.add_row(name, *cells)
    return table


def _number(value: int, *, proven: bool) -> str:
    return str(value) if proven else f"≥ {value}"


def _requests(fit: RequestsFit) -> list[RenderableType]:
    if fit.fit:
        return [Text("yes: the pods fit together", style="bold green"), repack.placements(fit.placements)]
    why = "the pods do not fit together as things stand" if fit.fit is False else fit.reason
    parts: list[RenderableType] = [answers.refusal(fit.fit, why)]
    parts += [Text(f"  would do: {_change(change)}") for change in fit.changes]
    parts += [
        Text(f"  {_KINDS[missing.kind]}: {_WORDS[missing.verdict]}; {missing.reason}", style="dim")
        for missing in fit.no_changes
    ]
    return parts


def _change(change: Change) -> str:
    match change:
        case MovesChange():
            restarts = f"{output.number(change.moves, 'restart')} ({output.number(change.gpc, 'compute slice')})"
            return f"{restarts} of {', '.join(change.pods)}{_proof('the cheapest', proven=change.optimal)}"
        case ProfileChange():
            swaps = ", ".join(f"{swap.count} × {swap.from_} as {swap.to}" for swap in change.swaps)
            return f"asking for other profiles: {swaps}{_proof('the fewest', proven=change.optimal)}"
        case GpusChange():
            what = f"{change.gpus} more {change.model} on {output.number(change.nodes, 'node')}"
            if change.optimal:
                return f"{what} (proven the fewest)"
            return f"at most {what} (not proven the fewest: at least {change.at_least})"


def _proof(best: str, *, proven: bool) -> str:
    return f" (proven {best})" if proven else f" (not proven {best})"


def _replicas(replicas: list[ReplicaRoom]) -> RenderableType:
    out = any(room.ineligible is not UNSET for room in replicas)
    names = ("PODS LIKE", "EACH WITH", "ASKED", "FIT NOW", "NODES", *(("NODES THAT TAKE NONE",) if out else ()))
    table = answers.table(*names, numbers=("ASKED", "FIT NOW"))
    for room in replicas:
        named = [f"{node}: {number}" for node, number in list(room.nodes.items())[:_NODES]]
        more = [f"{len(room.nodes) - _NODES} more nodes"] if len(room.nodes) > _NODES else []
        nodes = ", ".join(named + more) or "–"
        now = _number(room.now, proven=room.proven)
        refusing = {} if room.ineligible is UNSET else room.ineligible
        without = ", ".join(f"{number} {plugin}" for plugin, number in refusing.items()) or "–"
        cells = (room.request, answers.slices(room.profiles), str(room.asked), now, nodes)
        table.add_row(*cells, *((without,) if out else ()))
    return table


def _move(move: MovedPod) -> list[RenderableType]:
    """What if a pod moved: where to, and which waiting pods could start then."""
    may = f"; it may not be moved: {move.kept}" if move.kept else ""
    parts: list[RenderableType] = [Text(f"if {move.pod} on {move.node} were restarted elsewhere{may}", style="bold")]
    parts.append(_replicas([move.room]))
    for start in move.starts:
        what = f"{', '.join(start.pods)} ({answers.slices(start.profiles)}) could start on {start.place.node}"
        parts.append(Text(f"  {what}, while it goes to {start.moved.node}", style="green"))
    counts = (
        (move.already, "fit already"),
        (move.not_, "do not fit even then"),
        (move.undecided, "undecided"),
        (move.not_looked_at, "not looked at"),
        (move.held, "wait for something else than room"),
    )
    others = ", ".join(f"{number} {words}" for number, words in counts if number)
    starting = sum(len(start.pods) for start in move.starts)
    parts.append(Text(f"  waiting pods: {starting} could start, each kind alone; {others or 'no others'}", style="dim"))
    return parts
