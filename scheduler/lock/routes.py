"""The routes of the capacity API, each with what it asks of a caller. Read by `lock`; what has no row is not served.

Rights are on paths that are no resource's (RBAC's nonResourceURLs), with `/migsched` before them: Kubernetes itself
gives every user `get` on `/api/*`, `/openapi/*`, `/livez` and `/readyz` (ClusterRole system:discovery), so that the
routes' own paths would let in everybody who has a token.
"""

import enum
from collections.abc import Mapping

PREFIX = "/migsched"


class Asks(enum.Enum):
    """What a route asks of a caller."""

    NOTHING = "open"
    RIGHT = "a user with the right"
    RIGHT_UNLESS_OPEN = "a user with the right, unless metrics are open"


_VERBS = {"GET": "get", "POST": "post"}
_READ = dict.fromkeys(("GET",), Asks.RIGHT)
_SEND = dict.fromkeys(("POST",), Asks.RIGHT)

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
    "/api/v1/plan": _SEND,
    "/api/v1/capacity": {**_READ, **_SEND},
    "/api/v1/repack": _SEND,
    "/api/v1/simulate": _SEND,
    "/openapi.json": _READ,
    "/": _READ,
    "/docs": _READ,
    "/docs/page.js": _READ,
    "/docs/page.css": _READ,
    "/docs/swagger-ui-bundle.js": _READ,
    "/docs/swagger-ui.css": _READ,
}


def right(method: str, path: str) -> tuple[str, str]:
    """The verb and the path that a role has to name for it."""
    return _VERBS[method], f"{PREFIX}{path}"
