"""Access: where an API server is and how to be let in. Made by `kubeconfig` or `service_account`, used by `kube`."""

import ssl
from collections.abc import Mapping
from typing import Protocol


class Access(Protocol):
    """One API server and one user of it."""

    @property
    def host(self) -> str:
        """The API server's URL, without a slash at the end."""

    @property
    def server_name(self) -> str:
        """The name that the server's certificate has to bear; empty: the one in the URL."""

    def ssl_context(self) -> ssl.SSLContext:
        """The authorities to trust, and the user's own certificate if there is one, as their files are now."""

    async def headers(self) -> Mapping[str, str]:
        """The headers that say who calls, as they are to be sent now. OSError if a token cannot be read."""

    def refused(self) -> None:
        """The server refused the headers (HTTP 401): they may have run out before their time."""

    async def close(self) -> None:
        """Give back what was opened for it."""
