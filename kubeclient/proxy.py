"""Proxies, which the HTTP client does not use: what asks for one is refused instead of ignored. Called by `kube` and
`kubeconfig`.

The variables are read as Go's clients read them (golang.org/x/net/http/httpproxy), since kubectl beside us does:
loopback addresses and what NO_PROXY names are reached directly.
"""

import ipaddress
from collections.abc import Mapping
from urllib.parse import urlsplit

from allocator import errors

_FIX = "no proxy is used towards the API server"


def check_environment(server: str, environment: Mapping[str, str]) -> None:
    """Raise SettingsError where HTTPS_PROXY (HTTP_PROXY for http) applies to a server's URL."""
    parts = urlsplit(server)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    for variable in (f"{parts.scheme}_proxy".upper(), f"{parts.scheme}_proxy"):
        proxy = environment.get(variable, "")
        if not proxy:
            continue
        excepted = environment.get("NO_PROXY") or environment.get("no_proxy") or ""
        if _is_loopback(host) or _is_excepted(host, port, excepted):
            return
        raise errors.SettingsError(
            f"environment variable {variable}", without_password(proxy), f"{_FIX}; add {host} to NO_PROXY"
        )


def check_kubeconfig(file: str, proxy: str | None) -> None:
    """Raise SettingsError where a kubeconfig's cluster names a proxy."""
    if proxy:
        raise errors.SettingsError(
            "kubeconfig",
            file,
            f"its proxy-url {without_password(proxy)!r} cannot be used: {_FIX}; "
            "remove proxy-url, or name a server that is reached without one",
        )


def without_password(proxy: str) -> str:
    """A proxy's URL as an error may show it."""
    scheme, separator, rest = proxy.rpartition("://")
    return scheme + separator + rest.rpartition("@")[2]


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    address = _address(host)
    return address is not None and address.is_loopback


def _is_excepted(host: str, port: int, no_proxy: str) -> bool:
    """Whether NO_PROXY names a host: by `*`, an address, a network, a domain and those below it, with a port or not."""
    return any(_names(entry.strip().lower(), host.lower(), port) for entry in no_proxy.split(","))


def _names(entry: str, host: str, port: int) -> bool:
    if not entry:
        return False
    if entry == "*":
        return True
    address = _address(host)
    if "/" in entry:
        return address is not None and _in_network(address, entry)
    name, only_port = _split_port(entry)
    if only_port not in ("", str(port)):
        return False
    if address is not None:
        return _address(name) == address
    if name.startswith("*."):
        name = name[1:]
    return host.endswith(name) if name.startswith(".") else host == name or host.endswith(f".{name}")


def _split_port(entry: str) -> tuple[str, str]:
    """Host and port of an entry; an address of IPv6 has a port only behind brackets."""
    if entry.startswith("["):
        name, _, port = entry[1:].partition("]")
        return name, port.removeprefix(":")
    if entry.count(":") == 1:
        name, _, port = entry.partition(":")
        return name, port
    return entry, ""


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _in_network(address: ipaddress.IPv4Address | ipaddress.IPv6Address, network: str) -> bool:
    try:
        return address in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False
