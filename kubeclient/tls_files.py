"""The TLS context that is made from files, and made again when one of them changes. Used by `kubeconfig` and
`service_account`.

Certificate authorities and client certificates are renewed in place while a service runs: it has to follow within
their overlap, which is hours, so that a look now and then is enough.
"""

import os
import ssl
import time
from collections.abc import Callable, Iterable

import structlog

CHECK_S = 10.0  # how long a look at the files counts

_log = structlog.get_logger("tls")

FileState = tuple[str, int, int, int]  # path, inode, size and time of change


class TlsFiles:
    """A context that `make` reads from `files`, which may be other ones each time. Raises what `make` raises."""

    def __init__(
        self,
        make: Callable[[], ssl.SSLContext],
        files: Callable[[], Iterable[str | None]],
        *,
        check_s: float = CHECK_S,
    ) -> None:
        self._make = make
        self._files = files
        self._check_s = check_s
        self._read_from = self._state()
        self._context = self._made()
        self._look_at = time.monotonic() + check_s

    def context(self) -> ssl.SSLContext:
        """The context for a connection made now. Files that cannot be read are looked at again later."""
        now = time.monotonic()
        if now < self._look_at:
            return self._context
        self._look_at = now + self._check_s
        try:
            state = self._state()
            if state != self._read_from:
                self._context = self._made()
                self._read_from = state
                _log.info("certificates read again", files=[path for path, *_ in state])
        except (OSError, ValueError) as error:  # between two writes of a renewal
            _log.warning("certificates not read again", error=str(error))
        return self._context

    def _made(self) -> ssl.SSLContext:
        """The context, without the strictness that Python 3.13 adds: it refuses certificates that do not name the key
        that signed them, as those of many clusters do not. Kubernetes' own clients take them.
        """
        context = self._make()
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        return context

    def _state(self) -> tuple[FileState, ...]:
        return tuple(file_state(path) for path in self._files() if path)


def file_state(path: str) -> FileState:
    """What changes when a file is written or replaced. Raises OSError where there is none."""
    stat = os.stat(path)  # noqa: PTH116 - plain text all the way
    return path, stat.st_ino, stat.st_size, stat.st_mtime_ns
