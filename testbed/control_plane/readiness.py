"""Waits for a server to be ready, and says what stands in the way. Called by `control_plane`."""

import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Iterable
from pathlib import Path

from testbed import errors, processes

_ASK_EVERY_S = 0.05
_ANSWER_S = 5.0


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
            self._opener.open(request, timeout=_ANSWER_S).close()
        except urllib.error.HTTPError as error:
            with error:
                return f"HTTP {error.code}: {_failing(error.read().decode(errors='replace'))}"
        except OSError as error:  # refused, reset, timed out, or a certificate that does not fit
            return str(getattr(error, "reason", error))
        return None


def wait(
    client: Client,
    url: str,
    server: processes.Process,
    *,
    timeout_s: float,
    token: str | None = None,
    needs: Iterable[processes.Process] = (),
) -> None:
    """Wait until GET `url` of `server` is answered with 200.

    Raises StartError, which names the log, where that took longer than `timeout_s`, or `server` or one that it `needs`
    ended.
    """
    deadline = time.monotonic() + timeout_s
    while (problem := client.problem(url, token)) is not None:
        for process in (server, *needs):
            if not process.running:
                raise errors.StartError(process.describe(f"ended with status {process.exit_status} while starting"))
        if time.monotonic() > deadline:
            raise errors.StartError(server.describe(f"is not ready after {timeout_s:g} s ({url}: {problem})"))
        time.sleep(_ASK_EVERY_S)


def _failing(body: str) -> str:
    """The failing checks of a /readyz answer, or the whole answer where it lists none."""
    failing = [line.removeprefix("[-]").partition(" ")[0] for line in body.splitlines() if line.startswith("[-]")]
    return f"failing: {', '.join(failing)}" if failing else body.strip()
