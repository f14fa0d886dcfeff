"""Who asks the API: the token that a command sends, and what it takes for the API's certificate. Used by `api_client`.

A token is sent to the API that the user named, and to nobody else: that of a kubeconfig's user goes through that
kubeconfig's own cluster, or to a URL where the kubeconfig or a context is named beside it.
"""

import asyncio
import ipaddress
import os
import ssl
import urllib.parse
from collections.abc import Sequence
from pathlib import Path

from allocator import errors

VARIABLE = "MIGSCHED_TOKEN"
HOW = (
    f"name a token by --token-file or {VARIABLE} (kubectl create token NAME); "
    "the user of a kubeconfig is named by --context or --kubeconfig"
)
NO_TOKEN = "the kubeconfig's user has no token, and a client certificate cannot be passed on"


def named(file: Path | None) -> str:
    """The token of --token-file, else of the variable; empty without both. Raises SettingsError."""
    from kubeclient import token  # not for the list of commands

    try:
        if file is not None:
            return token.read(file)
        said = os.environ.get(VARIABLE, "")
        return token.checked(said, VARIABLE) if said else ""
    except OSError as error:
        where = ("token_file", str(file)) if file is not None else (VARIABLE, "…")
        raise errors.SettingsError(*where, f"cannot be used: {error}") from error


def of_kubeconfig(files: Sequence[Path], context: str | None) -> str:
    """The token of a context's user: its own, its file's or its plugin's; empty for another kind of user.

    Raises SettingsError for a kubeconfig that cannot be used.
    """
    return asyncio.run(_of_kubeconfig(files, context))


async def _of_kubeconfig(files: Sequence[Path], context: str | None) -> str:
    from kubeclient.kubeconfig import Kubeconfig  # slow to load

    access = await Kubeconfig.load(*files, context=context)
    try:
        return bearer(dict(await access.headers()))
    finally:
        await access.close()


def bearer(headers: dict[str, str]) -> str:
    """The token in the headers of an access; empty where there is none."""
    scheme, _, token = headers.get("Authorization", "").partition(" ")
    return token if scheme == "Bearer" else ""


def check_travels(url: str, token: str) -> None:
    """Raise SettingsError where a token would travel in the clear."""
    parts = urllib.parse.urlsplit(url)
    if token and parts.scheme == "http" and not _is_loopback(parts.hostname or ""):
        fix = f"would get a token in the clear: use https, or leave --token-file and {VARIABLE} out"
        raise errors.SettingsError("api_url", url, fix)


def trust(authority: Path | None) -> ssl.SSLContext:
    """What is taken for the API's certificate: what this authority signed, else what this machine trusts.

    Raises SettingsError for a file that is no certificate.
    """
    try:
        return ssl.create_default_context(cafile=authority)
    except (OSError, ssl.SSLError) as error:
        raise errors.SettingsError(
            "certificate_authority", str(authority), f"is not a file of PEM certificates: {error}"
        ) from error


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
