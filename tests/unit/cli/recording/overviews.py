"""Overviews for tests of recordings: small, and with names wherever names are."""

import json
from typing import Any

NAMES = {
    "namespaces": ["payments-prod", "research"],
    "pods": ["payments-prod/ledger-7d9f8-x2k4q", "research/bert-large-0"],
    "nodes": ["dgx-berlin-03", "dgx-berlin-04"],
    "gpus": ["GPU-5a1e1c6e-3f7b-4a53-9d1c-0c2c8f1f7b11"],
    "uids": ["0b5f6a52-5c1d-4c3e-8a50-1f7d1f0a9e55"],
    "containers": ["tritonserver-main"],
    "owners": ["ledger-back-end"],
}
WORDS = sorted({word for names in NAMES.values() for name in names for word in name.split("/")})


def stamp(second: int) -> str:
    return f"2026-01-31T12:{second // 60:02d}:{second % 60:02d}.000Z"


def node(name: str = "dgx-berlin-03", start: int = 0) -> dict[str, Any]:
    """A node with a GPU and a pod's slice on it."""
    slice_ = {
        "profile": "3g.20gb",
        "start": start,
        "size": 4,
        "state": "allocated",
        "namespace": "payments-prod",
        "pod": "ledger-7d9f8-x2k4q",
        "container": "tritonserver-main",
        "since": stamp(0),
        "unused_since": None,
        "movable": True,
        "owner": "Deployment/ledger-back-end",
    }
    gpu = {"uuid": NAMES["gpus"][0], "index": 0, "model": "a100-40gb", "memory_slices": 8, "mig": True, "state": "ok"}
    return {
        "name": name,
        "ready": True,
        "message": "",
        "gpus": [{**gpu, "message": "", "stranded": [], "slices": [slice_]}],
    }


def overview(second: int = 0, **sections: Any) -> bytes:
    """A whole document at a second."""
    waiting = {
        "pod": "research/bert-large-0",
        "uid": NAMES["uids"][0],
        "requests": {"7g.40gb": 1},
        "priority": 0,
        "since": stamp(0),
        "position": 0,
        "code": "fragmented",
        "message": "2 nodes: no room; room is kept on dgx-berlin-04, owner ledger-7d9f8 of payments-prod",
        "gang": None,
        "remedy": {
            "kind": "moves",
            "text": "restart 1 elsewhere: payments-prod/ledger-7d9f8-x2k4q from dgx-berlin-03 to dgx-berlin-04",
            "moves": ["payments-prod/ledger-7d9f8-x2k4q"],
        },
        "remedy_known": True,
    }
    document = {
        "revision": second + 1,
        "time": stamp(second),
        "version": "0.1.0",
        "mode": "queue",
        "may": {"plan": True, "move": True, "demo": False},
        "profiles": [{"name": "3g.20gb", "resource": "nvidia.com/mig-3g.20gb", "limit": None}],
        "waiting": [waiting],
        "waiting_total": 1,
        "totals": {"gpus": 1},
        "moves": [
            {
                "name": f"for-{NAMES['uids'][0]}",
                "mode": "Approve",
                "phase": "Proposed",
                "message": "1 move",
                "wanted": "room for 1 × research/bert-large-0 (1 × 7g.40gb)",
                "pod": "research/bert-large-0",
                "steps": [
                    {
                        "pod": "payments-prod/ledger-7d9f8-x2k4q",
                        "from": f"dgx-berlin-03 {NAMES['gpus'][0]} 3g.20gb@0",
                        "to": f"dgx-berlin-04 {NAMES['gpus'][0]} 3g.20gb@4",
                        "state": "pending",
                        "since": stamp(0),
                        "reason": "its PodDisruptionBudget ledger-budget does not let it go",
                    }
                ],
                "price": "1 restart, 20 GiB of GPU memory moved",
                "proof": "proven: no plan costs less",
            }
        ],
        "usage": [{"namespace": "payments-prod", "slice_hours": 1.5, "mib_hours": None, "since": stamp(0)}],
        "health": [{"node": "dgx-berlin-04", "gpu": None, "what": "closed", "message": "dgx-berlin-04 is cordoned"}],
        "log": [
            {
                "time": stamp(0),
                "kind": "cut",
                "text": "3g.20gb@0 of GPU 0 of dgx-berlin-03 is cut",
                "node": "dgx-berlin-03",
            }
        ],
        "nodes": [node()],
    }
    return json.dumps({**document, **sections}).encode()


def changes(second: int, nodes: list[dict[str, Any]] = [], gone: list[str] = [], **sections: Any) -> bytes:  # noqa: B006
    """Changes at a second."""
    document = {"revision": second + 1, "time": stamp(second), "sections": sections, "nodes": nodes, "gone": gone}
    return json.dumps(document).encode()
