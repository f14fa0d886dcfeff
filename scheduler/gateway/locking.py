"""The API's lock and its TLS, made from what the settings say. Used by `worker`, and by `servers` without a worker."""

import ssl
from pathlib import Path

from allocator import errors
from kubeclient.reviews import Reviews
from scheduler import certificate
from scheduler.lock.known_callers import KnownCallers, ReviewLimits
from scheduler.lock.lock import ApiLock
from scheduler.lock.terms import REFUSED_S, LockTerms


def tls(terms: LockTerms) -> ssl.SSLContext | None:
    """What connections are made with; None for plain ones. Raises SettingsError for files that cannot be used."""
    if not terms.certificate:
        return None
    return certificate.server_context(Path(terms.certificate), Path(terms.key), setting="api")


def lock(terms: LockTerms, reviews: Reviews | None) -> ApiLock | None:
    """The lock; None where everybody may ask. Raises SettingsError where nobody can be asked about tokens."""
    if not terms.tokens:
        return None
    if reviews is None:
        raise errors.SettingsError("api_access", "tokens", "needs an API server to ask about tokens")
    limits = ReviewLimits(known_s=terms.known_s, refused_s=min(terms.known_s, REFUSED_S))
    return ApiLock(KnownCallers(reviews, limits, terms.audiences), open_metrics=terms.open_metrics)
