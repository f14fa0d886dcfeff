"""Waits for a server to be ready, and says what stands in the way. Called by `control_plane`."""

import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Iterable
from pathlib import Path

from testbed import errors, processes

_ASK_EVERY_SECONDS = 0.05
_ANSWER_SECONDS = 5.0


class Client:
    """GET requests to servers on loopback whose certificate the local authority signed. No proxy is asked."""

    def __init__(self, authority: Path) -> None:
        context = ssl.create_default_context(cafile=str(authority))
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        )

    def problem(self, url: str, token: str | None = None) -> str | None:
        """Return None where GET `url` is answered with 200, else what happened instead, in one line."""
        request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})
        try:
            self._opener.open(request, timeout=_ANSWER_SECONDS).close()
        except urllib.error.HTTPError as exc:
            with exc:
                return f"HTTP {exc.code}: {_failing(exc.read().decode(errors='replace'))}"
        except OSError as exc:  # refused, reset, timed out, or a certificate that does not fit
            return str(getattr(exc, "reason", exc))
        return None


def wait(
    client: Client,
    url: str,
    server: processes.Process,
    *,
    seconds: float,
    token: str | None = None,
    needs: Iterable[processes.Process] = (),
) -> None:
    """Wait until GET `url` of `server` is answered with 200.

    Raises:
        StartError: that took longer than `seconds`, or `server` or one of those it `needs` ended; it names the log.
    """
    deadline = time.monotonic() + seconds
    while (problem := client.problem(url, token)) is not None:
        for process in (server, *needs):
            if not process.running:
                raise errors.StartError(process.describe(f"ended with status {process.exit_status} while starting"))
        if time.monotonic() > deadline:
            raise errors.StartError(server.describe(f"is not ready after {seconds:g} s ({url}: {problem})"))
        time.sleep(_ASK_EVERY_SECONDS)


def _failing(body: str) -> str:
    """Return the failing checks of a /readyz answer, or the whole answer where it lists none."""
    failing = [line.removeprefix("[-]").partition(" ")[0] for line in body.splitlines() if line.startswith("[-]")]
    return f"failing: {', '.join(failing)}" if failing else body.strip()
