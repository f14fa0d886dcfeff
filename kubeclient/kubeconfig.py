"""Access by a kubeconfig file, with all the ways of authentication that it may name. Made by `kube`.

The only user of the `kubernetes` package, which reads such files for us. Loading it takes a second and 25 MiB, so that
a service in a pod (`service_account`) does without.

The file is read again when it changes, when the credentials of its plugin run out, and when the server refuses what it
gave. A `tokenFile` is read again each time.
"""

import asyncio
import ssl
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import structlog
from cryptography import x509
from kubernetes.aio import client as kubernetes_client
from kubernetes.aio import config as kubernetes_config
from kubernetes.aio.client import rest as kubernetes_rest

from allocator import errors
from kubeclient import kubeconfig_files, proxy, token
from kubeclient.tls_files import CHECK_S, FileState, TlsFiles, file_state

READ_S = 30.0  # for a credential plugin to answer
RENEW_AHEAD = 0.2  # of a credential's life is left when it is renewed, but no more than
RENEW_AHEAD_MAX_S = 300.0

_log = structlog.get_logger("kubeconfig")


class Kubeconfig:
    """One context of a kubeconfig. Make it with `load`, inside the event loop that uses it.

    `check_s` is how often at most its files are looked at, and its plugin is asked. A plugin that does not answer
    within `read_s` is not waited for longer, nor asked a second time before it ends.
    """

    def __init__(
        self, *files: Path, context: str | None = None, check_s: float = CHECK_S, read_s: float = READ_S
    ) -> None:
        self._files_read = files
        self._shown = ":".join(map(str, files))
        self._context_name = context
        self._check_s = check_s
        self._read_s = read_s
        self._reading = asyncio.Lock()
        self._look_at = 0.0
        self._refused = False
        self._renew_at: datetime | None = None
        self._state: tuple[FileState, ...] = ()
        self._loading: asyncio.Task[_Loaded] | None = None  # while a plugin takes its time
        self._configuration: Any = None
        self._token_file: Path | None = None
        self._tls: TlsFiles | None = None
        self.host = ""
        self.server_name = ""

    @classmethod
    async def load(
        cls, *files: Path, context: str | None = None, check_s: float = CHECK_S, read_s: float = READ_S
    ) -> "Kubeconfig":
        """Read the files, as one; without `context` the current one counts. Raises SettingsError if unusable."""
        made = cls(*files, context=context, check_s=check_s, read_s=read_s)
        try:
            await made._read()
            made._authorization()
            made._tls = TlsFiles(made._context, made._files, check_s=check_s)
        except (OSError, errors.SettingsError) as error:
            await made.close()
            if isinstance(error, errors.SettingsError):
                raise
            raise made._unusable(str(error)) from error
        made.host = made._configuration.host.rstrip("/")
        made.server_name = made._configuration.tls_server_name or ""
        return made

    def ssl_context(self) -> ssl.SSLContext:
        """See Access. Files that the kubeconfig names are followed, and so is what it holds itself."""
        if self._tls is None:
            raise RuntimeError("the kubeconfig was not loaded")
        return self._tls.context()

    async def headers(self) -> Mapping[str, str]:
        """See Access. What has run out or was refused is renewed first; where that fails, what there was is used."""
        if self._is_due():
            async with self._reading:
                if self._is_due():
                    await self._renew()
        authorization = self._authorization()
        return {"Authorization": authorization} if authorization else {}

    def refused(self) -> None:
        """See Access. Files and plugin are asked again."""
        self._refused = True

    async def close(self) -> None:
        """See Access. A plugin is not waited for any longer."""
        if self._loading is not None:
            self._loading.cancel()

    def _is_due(self) -> bool:
        """Whether to read again: looked at every `check_s` at most."""
        now = time.monotonic()
        if now < self._look_at:
            return False
        if self._refused or (self._renew_at is not None and datetime.now(UTC) >= self._renew_at):
            return True
        try:
            changed = _state(self._files_read) != self._state
        except OSError:  # between two writes
            changed = False
        if not changed:
            self._look_at = now + self._check_s
        return changed

    async def _renew(self) -> None:
        self._look_at = time.monotonic() + self._check_s
        try:
            await self._read()
            self._refused = False
            _log.info("credentials read again", kubeconfig=self._shown)
        except (errors.SettingsError, OSError) as error:
            _log.warning("credentials not read again", kubeconfig=self._shown, error=str(error))

    async def _read(self) -> None:
        """Take the file's contents over, if all of them can be used. Raises SettingsError or OSError."""
        self._loading = self._loading or asyncio.create_task(_load(self._files_read, self._context_name))
        await asyncio.wait((self._loading,), timeout=self._read_s)
        if not self._loading.done():
            raise self._unusable(f"its credential plugin did not answer within {self._read_s:g} s")
        loading, self._loading = self._loading, None
        try:
            loaded = loading.result()
        except (OSError, errors.SettingsError):
            raise
        except Exception as error:  # whatever the package and what it calls raise for a file that nobody checked
            raise self._unusable(f"{type(error).__name__} {error}") from error
        configuration, user = loaded.configuration, loaded.user
        proxy.check_kubeconfig(self._shown, configuration.proxy)
        self._check_plugin(user, configuration, loaded.loader)
        token_file = user.get("tokenFile")
        self._token_file = self._files_read[0].parent / str(token_file) if token_file else None
        self._state, self._configuration = loaded.state, configuration
        self._renew_at = _renewal(loaded.expiry)

    def _check_plugin(self, user: Mapping[str, Any], configuration: Any, loader: Any) -> None:
        """Raise SettingsError where a plugin gave nothing, which the package only logs."""
        if "exec" not in user or configuration.api_key or getattr(loader, "cert_file", None):
            return
        command = user["exec"].get("command") if isinstance(user["exec"], dict) else None
        raise self._unusable(f"its credential plugin {command!r} gave no credentials; run it by hand to see why")

    def _authorization(self) -> str:
        """The header of that name; empty without a token. Raises ConnectionError for a token that cannot be sent."""
        if self._token_file is not None:
            return f"Bearer {token.read(self._token_file)}"
        said: str = self._configuration.api_key.get("BearerToken", "")
        return token.checked(said, f"the token of kubeconfig {self._shown}") if said else ""

    def _context(self) -> ssl.SSLContext:
        """The package's own reading of what a kubeconfig says of TLS."""
        context: ssl.SSLContext = kubernetes_rest.RESTClientObject(self._configuration).ssl_context
        return context

    def _files(self) -> tuple[str | None, ...]:
        of = self._configuration
        return of.ssl_ca_cert, of.cert_file, of.key_file

    def _unusable(self, why: str) -> errors.SettingsError:
        return errors.SettingsError("kubeconfig", self._shown, f"cannot be used: {why}")


class _Loaded(NamedTuple):
    """What the package made of files, which were in this state, and the user of the context."""

    state: tuple[FileState, ...]
    configuration: Any
    loader: Any
    user: Mapping[str, Any]
    expiry: datetime | None


async def _load(files: Sequence[Path], context: str | None) -> _Loaded:
    configuration = kubernetes_client.Configuration()
    state = _state(files)  # the package takes a missing file for an empty one
    document = kubeconfig_files.merge(files)
    if context is not None and all(entry["name"] != context for entry in document["contexts"]):
        known = ", ".join(sorted(entry["name"] for entry in document["contexts"])) or "none, it has no contexts"
        raise errors.SettingsError("context", context, f"is not in {':'.join(map(str, files))}; use one of {known}")
    loader = await kubernetes_config.load_kube_config_from_dict(  # type: ignore[no-untyped-call]  # untyped
        config_dict=document, context=context, client_configuration=configuration
    )
    user = kubeconfig_files.user_of(document, context)
    return _Loaded(state, configuration, loader, user, _expiry(user, configuration, loader))


def _state(files: Sequence[Path]) -> tuple[FileState, ...]:
    return tuple(file_state(str(file)) for file in files)


def _expiry(user: Mapping[str, Any], configuration: Any, loader: Any) -> datetime | None:
    """When a plugin's credentials run out, if they say so; of a certificate the package does not say."""
    if "exec" not in user:
        return None
    expiry: datetime | None = getattr(loader, "exec_plugin_expiry", None)
    certificate: str | None = configuration.cert_file
    if expiry is None and certificate:
        expiry = x509.load_pem_x509_certificate(Path(certificate).read_bytes()).not_valid_after_utc
    return expiry


def _renewal(expiry: datetime | None) -> datetime | None:
    """When to renew a plugin's credentials; None for those that do not say when they run out."""
    if expiry is None:
        return None
    ahead_s = min(RENEW_AHEAD_MAX_S, RENEW_AHEAD * (expiry - datetime.now(UTC)).total_seconds())
    return datetime.fromtimestamp(expiry.timestamp() - max(0.0, ahead_s), UTC)
