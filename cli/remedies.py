"""Remedies for a pod that finds no room: asked of the API, said in words. Used by `migsched explain`."""

from collections.abc import Callable, Mapping
from typing import Any

from rich.text import Text

from cli import api_client, output

_KINDS = ("state", "reason", "cheapest", "remedies", "trials", "notes")


def ask(api_url: api_client.Address, pod: str, seconds: float) -> dict[str, Any]:
    """The API's answer; where there is none, one that says why, so that the explanation is shown all the same."""
    try:
        return api_client.get(api_url, "/api/v1/remedy", _fields, pod=pod, time_limit_s=f"{seconds:g}")
    except (api_client.NoAnswerError, api_client.NotThereError) as error:
        return {
            "state": "not_searched",
            "reason": str(error),
            "cheapest": None,
            "remedies": [],
            "trials": [],
            "notes": [],
        }


def _fields(answer: dict[str, Any]) -> dict[str, Any]:
    return {name: answer[name] for name in _KINDS} | answer


def lines(remedy: Mapping[str, Any]) -> list[Text]:
    """The cheapest remedy, then the others, then what was not looked at."""
    if remedy["state"] == "fits":
        return [Text(f"by now {remedy['reason']}")]
    if remedy["cheapest"] is None:
        what = "no remedy was searched" if remedy["state"] == "not_searched" else "no remedy"
        said = [Text(f"{what}: {remedy['reason']}")]
        return said + [Text(f"  {trial['kind']}: {trial['reason']}") for trial in remedy["trials"]]
    words = ["cheapest remedy", *["or"] * (len(remedy["remedies"]) - 1)]
    said = [Text(f"{word}: {_SAYS[one['kind']](one)}") for word, one in zip(words, remedy["remedies"], strict=True)]
    none = [trial for trial in remedy["trials"] if trial["kind"] == "moves" and trial["state"] != "found"]
    said += [Text(f"no moves: {trial['reason']}") for trial in none]
    return said + [Text(f"not looked at: {note}", style="dim") for note in remedy["notes"]]


def _wait(remedy: Mapping[str, Any]) -> str:
    how = "which terminates" if remedy["terminating"] else "which ends by its deadline"
    if len(remedy["pods"]) > 1:
        how = "which terminate" if remedy["terminating"] else "which end by their deadlines"
    return f"wait for {', '.join(remedy['pods'])} on {remedy['node']}, {how}, until {remedy['until']}"


def _moves(remedy: Mapping[str, Any]) -> str:
    moves = remedy["moves"]
    said = "; then ".join(f"{move['pod']} from {move['from_node']} to {move['to_node']}" for move in moves)
    fewest = "" if remedy["optimal"] else " (a cheaper way may exist)"
    return f"move {output.number(len(moves), 'pod')}{fewest}: {said}; it then fits on {remedy['node']}"


def _profile(remedy: Mapping[str, Any]) -> str:
    said = ", ".join(f"{swap['count']} × {swap['to']} instead of {swap['from']}" for swap in remedy["swaps"])
    return f"ask for {said}, which fits now on {remedy['node']}"


def _nodes(remedy: Mapping[str, Any]) -> str:
    gpus = output.number(remedy["gpus_per_node"], "empty GPU")
    return f"add {output.number(remedy['nodes'], 'node')} with {gpus} of {remedy['model']}"


_SAYS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "wait": _wait,
    "moves": _moves,
    "profile": _profile,
    "nodes": _nodes,
}
