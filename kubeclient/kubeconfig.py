"""Access by a kubeconfig file, with all the ways of authentication that it may name. Made by `kube`.

The only user of the `kubernetes` package, which reads such files for us. Loading it takes a second and 25 MiB, so that
a service in a pod (`service_account`) does without.
"""

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from kubernetes.aio import client as kubernetes_client
from kubernetes.aio import config as kubernetes_config
from kubernetes.aio.client import rest as kubernetes_rest

from allocator import errors
from kubeclient import proxy
from kubeclient.tls_files import CHECK_S, TlsFiles


class Kubeconfig:
    """The current context of a kubeconfig. Make it with `load`, inside the event loop that uses it."""

    def __init__(self, configuration: Any, *, check_s: float = CHECK_S) -> None:
        self._api = kubernetes_client.ApiClient(configuration)
        self.host: str = configuration.host.rstrip("/")
        self.server_name: str = configuration.tls_server_name or ""
        self._tls = TlsFiles(
            lambda: _context(configuration),
            lambda: (configuration.ssl_ca_cert, configuration.cert_file, configuration.key_file),
            check_s=check_s,
        )

    @classmethod
    async def load(cls, file: Path, *, check_s: float = CHECK_S) -> "Kubeconfig":
        """Read the file. Raises SettingsError if it cannot be used."""
        configuration = kubernetes_client.Configuration()
        try:
            file.open().close()  # the package takes a missing file for an empty one
            await kubernetes_config.load_kube_config(  # type: ignore[no-untyped-call]  # untyped
                config_file=str(file), client_configuration=configuration, persist_config=False
            )
        except (kubernetes_config.ConfigException, yaml.YAMLError, OSError, ValueError, TypeError) as error:
            raise errors.SettingsError("kubeconfig", str(file), f"cannot be used: {error}") from error
        proxy.check_kubeconfig(str(file), configuration.proxy)
        return cls(configuration, check_s=check_s)

    def ssl_context(self) -> ssl.SSLContext:
        """See Access. What the kubeconfig holds itself is read once; files that it names are followed."""
        return self._tls.context()

    async def headers(self) -> Mapping[str, str]:
        """See Access. The package renews what has run out."""
        fresh: dict[str, str] = {}
        try:
            await self._api.update_params_for_auth(fresh, [], ["BearerToken"], "/", "GET", None)
        except OSError:
            raise
        except Exception as error:  # whatever a plugin of the package raises
            raise ConnectionError(f"no credentials: {type(error).__name__} {error}") from error
        return fresh

    async def close(self) -> None:
        """See Access."""
        await self._api.close()  # type: ignore[no-untyped-call]  # untyped


def _context(configuration: Any) -> ssl.SSLContext:
    """The package's own reading of what a kubeconfig says of TLS."""
    context: ssl.SSLContext = kubernetes_rest.RESTClientObject(configuration).ssl_context
    return context
