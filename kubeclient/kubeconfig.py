"""Access by a kubeconfig file, with all the ways of authentication that it may name. Made by `kube`.

The only user of the `kubernetes` package, which reads such files for us. Loading it takes a second and 25 MiB, so that
whoever runs in a pod (`service_account`) does without.
"""

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from kubernetes.aio import client as kubernetes_client
from kubernetes.aio import config as kubernetes_config

from allocator import errors


class Kubeconfig:
    """The current context of a kubeconfig. Make it with `load`, inside the event loop that uses it."""

    def __init__(self, configuration: Any) -> None:
        self._api = kubernetes_client.ApiClient(configuration)
        self.host: str = configuration.host.rstrip("/")
        self.ssl_context: ssl.SSLContext = self._api.rest_client.ssl_context

    @classmethod
    async def load(cls, file: Path) -> "Kubeconfig":
        """Read the file. Raises SettingsError if it cannot be used."""
        configuration = kubernetes_client.Configuration()
        try:
            file.open().close()  # the package takes a file that is not there for an empty one
            await kubernetes_config.load_kube_config(  # type: ignore[no-untyped-call]  # untyped
                config_file=str(file), client_configuration=configuration, persist_config=False
            )
        except (kubernetes_config.ConfigException, yaml.YAMLError, OSError, ValueError, TypeError) as error:
            raise errors.SettingsError("kubeconfig", str(file), f"cannot be used: {error}") from error
        return cls(configuration)

    async def headers(self) -> Mapping[str, str]:
        """See Access. The package renews what has run out."""
        fresh: dict[str, str] = {}
        await self._api.update_params_for_auth(fresh, [], ["BearerToken"], "/", "GET", None)
        return fresh

    async def close(self) -> None:
        """See Access."""
        await self._api.close()  # type: ignore[no-untyped-call]  # untyped
