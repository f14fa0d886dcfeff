"""Access to a server without TLS: what a kubeconfig or a service account comes to, with nothing read from files."""

import ssl
from collections.abc import Mapping


class PlainAccess:
    """An Access to a URL that begins with http, by a token or without credentials."""

    server_name = ""

    def __init__(self, host: str, token: str = "") -> None:
        self.host, self._token = host.rstrip("/"), token

    def ssl_context(self) -> ssl.SSLContext:
        """See Access: nobody needs one."""
        raise AssertionError

    async def headers(self) -> Mapping[str, str]:
        """See Access."""
        return {"Authorization": f"Bearer {self._token}"} if self._token else {}

    def refused(self) -> None:
        """See Access."""

    async def close(self) -> None:
        """See Access."""
