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
    def ssl_context(self) -> ssl.SSLContext:
        """Whom to trust, and a certificate of the user's own if he has one."""

    async def headers(self) -> Mapping[str, str]:
        """The headers that say who calls, as they are to be sent now. OSError if a token cannot be read."""

    async def close(self) -> None:
        """Give back what was opened for it."""
