"""The routes of the capacity API, each with what it asks of a caller. Read by `lock`; what has no row is not served.

Rights are on paths that are no resource's (RBAC's nonResourceURLs), with `/migsched` before them: Kubernetes itself
gives every user `get` on `/api/*`, `/openapi/*`, `/livez` and `/readyz` (ClusterRole system:discovery), so that the
routes' own paths would let in everybody who has a token.
"""

import enum
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from allocator.claims import contract

PREFIX = "/migsched"


class Asks(enum.Enum):
    """What a route asks of a caller."""

    NOTHING = "open"
    RIGHT = "a user with the right"
    RIGHT_UNLESS_OPEN = "a user with the right, unless metrics are open"
    CREATES_REPACKS = "a user who may create Repacks"
    APPROVES_REPACKS = "a user who may patch Repacks"


_VERBS = {"GET": "get", "POST": "post"}
_READ = dict.fromkeys(("GET",), Asks.RIGHT)
_SEND = dict.fromkeys(("POST",), Asks.RIGHT)
_OPEN = dict.fromkeys(("GET",), Asks.NOTHING)
OVERVIEW = "/api/v1/overview"
CHANGES = "/api/v1/overview/changes"
PLAN = "/api/v1/plan"
_REPACKS = "/api/v1/repacks"

ROUTES: Mapping[str, Mapping[str, Asks]] = {
    "/livez": {"GET": Asks.NOTHING},
    "/readyz": {"GET": Asks.NOTHING},
    "/metrics": {"GET": Asks.RIGHT_UNLESS_OPEN},
    "/api/v1/nodes": _READ,
    "/api/v1/pods": _READ,
    "/api/v1/snapshot": _READ,
    "/api/v1/explain": _READ,
    "/api/v1/pending": _READ,
    "/api/v1/remedy": _READ,
    OVERVIEW: _READ,
    CHANGES: _READ,
    PLAN: _SEND,
    "/api/v1/capacity": {**_READ, **_SEND},
    "/api/v1/repack": _SEND,
    "/api/v1/simulate": _SEND,
    _REPACKS: {"POST": Asks.CREATES_REPACKS},
    f"{_REPACKS}/{{name}}": _READ,
    f"{_REPACKS}/{{name}}/approval": {"POST": Asks.APPROVES_REPACKS},
    "/openapi.json": _READ,
    "/": _OPEN,  # the page's own files say nothing of the cluster
    "/page/{file:path}": _OPEN,
    "/about": _READ,
    "/docs": _READ,
    "/docs/page.js": _READ,
    "/docs/page.css": _READ,
    "/docs/swagger-ui-bundle.js": _READ,
    "/docs/swagger-ui.css": _READ,
}


ACTIONS = (_REPACKS, f"{_REPACKS}/{{name}}/approval")  # what changes the cluster


def _pattern(row: str) -> re.Pattern[str]:
    """What paths a row is for: `{name}` is a part of one, `{name:path}` the rest of it."""
    parts = re.split(r"(\{[^}]+\})", row)
    return re.compile(
        "".join(".+" if part.endswith(":path}") else "[^/]+" if part[:1] == "{" else re.escape(part) for part in parts)
    )


_PATTERNS = [(_pattern(row), row) for row in ROUTES if "{" in row]


class ResourceRight(NamedTuple):
    """A verb on a resource of an API group, in all of the cluster."""

    verb: str
    group: str
    resource: str


class PathRight(NamedTuple):
    """A verb on a path that is no resource's."""

    verb: str
    path: str


AskedRight = ResourceRight | PathRight

_OF_RESOURCES = {
    Asks.CREATES_REPACKS: ResourceRight("create", contract.GROUP, contract.REPACKS),
    Asks.APPROVES_REPACKS: ResourceRight("patch", contract.GROUP, contract.REPACKS),
}


def find(path: str) -> str:
    """The row of a path: itself, or the one whose `{name}` stands for a part of it; empty for none."""
    if path in ROUTES:
        return path
    return next((row for pattern, row in _PATTERNS if pattern.fullmatch(path)), "")


def right(method: str, row: str) -> AskedRight:
    """What a role has to give for a row."""
    asked = _OF_RESOURCES.get(ROUTES[row][method])
    return asked or PathRight(_VERBS[method], f"{PREFIX}{row}")


MAY: Mapping[str, Sequence[AskedRight]] = {  # what the page offers, by the rights that it takes
    "plan": (right("POST", PLAN),),
    "move": tuple(_OF_RESOURCES.values()),
    "demo": (right("POST", PLAN),),
}
