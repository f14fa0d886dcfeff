"""LockTerms: what the API's lock is told. Made from the settings, given to the gateway's process as JSON."""

import enum

import msgspec

KNOWN_S = 30.0
REFUSED_S = 5.0  # of a token or a right that was refused: what was just granted is noticed soon
MOST_CALLERS = 512  # with names, groups and rights: some MiB at most
REVIEWS = 4  # in flight, so that no crowd of strangers floods the API server
REVIEWS_WAITING = 32
REVIEW_PACE_S = 0.04  # that a place is taken for at least: a hundred reviews a second at most
REVIEW_S = 10.0  # until a review counts as not answered


class ApiAccess(enum.StrEnum):
    """Who may ask the capacity API."""

    LOOPBACK = "loopback"
    TOKENS = "tokens"
    OPEN = "open"


class LockTerms(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the API is served: over TLS where there is a certificate, and to whom.

    `tokens` says that callers are asked for one; `open_metrics` that /metrics is not locked. An empty `kubeconfig`
    stands for the pod's service account. `audiences` are those that a token has to be made for, none for the API
    server's own. The answers to reviews count for `known_s`.
    """

    certificate: str = ""
    key: str = ""
    tokens: bool = False
    kubeconfig: str = ""
    open_metrics: bool = False
    audiences: tuple[str, ...] = ()
    known_s: float = KNOWN_S
