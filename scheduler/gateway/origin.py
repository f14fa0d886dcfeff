"""Origin: whether a request comes from a program that means this API, or from a web page that uses a browser.

A browser behind a port-forward reaches the API. A page can have it send requests (CSRF), and a page whose name is made
to resolve to the API's address can read the answers (DNS rebinding). A browser says who asks: `Host`, `Origin`,
`Sec-Fetch-Site`. Rebinding needs a name, so every IP address is admitted as a host.
"""

import ipaddress
from collections.abc import Collection

ANY = "*"
LOCALHOST = "localhost"


def refusal(hosts: Collection[str], host: str | None, origin: str | None, fetch_site: str | None) -> str | None:
    """Why the headers' request is not answered, in words; None if it is.

    `hosts` are the names under which the API is reached, with ANY for all. A request without Host is HTTP/1.0, which no
    browser speaks.
    """
    if host is not None and not _is_ours(hosts, host):
        return f"Host: {host[:120]!r}: is not a name of this API; use an IP address, or add it to api_hosts"
    if fetch_site not in (None, "same-origin", "none"):
        return f"Sec-Fetch-Site: {fetch_site!r}: pages of other sites may not ask"
    if origin is not None and origin.partition("://")[2] != host:
        return f"Origin: {origin[:120]!r}: pages of other sites may not ask"
    return None


def _is_ours(hosts: Collection[str], host: str) -> bool:
    if ANY in hosts:
        return True
    name = _without_port(host).lower().rstrip(".")
    if name == LOCALHOST or name in hosts:
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.rpartition(":")[0] if host.count(":") == 1 else host
