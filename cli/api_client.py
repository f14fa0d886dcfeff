"""Asks the capacity API of a running scheduler: at a URL, or through the API server of a cluster.

Used by every command that has `api_url` as a parameter: `main` gives it the flags of `CLUSTER_FLAGS` too. Where nothing
is named, a scheduler or demo on this machine is asked if there is one, else the kubeconfig's cluster.
"""

import contextlib
import os
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, NamedTuple, Protocol, TypeVar

import msgspec
import typer

from allocator import errors
from cli import credentials

T = TypeVar("T")

LOCAL_URL = "http://127.0.0.1:8080"
VARIABLE = "MIGSCHED_API_URL"
SERVER = "migsched"  # what the API's header Server says
NAMESPACE = "migsched-system"
SECONDS = 10.0
_LOCAL_SECONDS = 1.0  # to find out who listens on this machine
_SHOWN = 60  # characters of another server's name


@dataclass(frozen=True)
class Address:
    """Where to ask: a URL, else the scheduler of a cluster. `local`: first look on this machine, if both are open.

    With a URL, `kubeconfig` and `context` say whose token is sent there.
    """

    url: str | None = None
    kubeconfig: Path | None = None
    context: str | None = None
    namespace: str = NAMESPACE
    local: bool = True
    token_file: Path | None = None
    certificate_authority: Path | None = None

    @property
    def names_user(self) -> bool:
        """Whether the user of a kubeconfig is named."""
        return self.kubeconfig is not None or self.context is not None


def _address(value: "str | Address") -> Address:
    return value if isinstance(value, Address) else Address(url=value)


def _with_cluster(ctx: typer.Context, value: Address) -> Address:
    """The address with what `CLUSTER_FLAGS` say, which are read first. A flag wins over the variable."""
    flags: dict[str, Any] = {name: ctx.meta[name] for name in CLUSTER_FLAGS if ctx.meta.get(name) is not None}
    value = replace(value, **{name: flags.pop(name) for name in _CREDENTIALS if name in flags})
    given = flags
    cluster = {"namespace" if name == "scheduler_namespace" else name: value for name, value in given.items()}
    if given and value.url is not None:
        source = ctx.get_parameter_source("api_url")
        if source is not None and source.name == "COMMANDLINE":
            if "scheduler_namespace" in given:
                fix = "names a cluster, and --api-url a server: leave one of them out"
                raise errors.SettingsError("scheduler_namespace", given["scheduler_namespace"], fix)
            return replace(value, local=False, **given)
        value = replace(value, url=None)
    if cluster:
        return replace(value, local=False, **cluster)
    return replace(value, local=ctx.find_root().info_name != "kubectl mig")


_CREDENTIALS = ("token_file", "certificate_authority")
DEFAULT_URL = Address()
ApiUrl = Annotated[
    Address,
    typer.Option(
        parser=_address,
        callback=_with_cluster,
        envvar=VARIABLE,
        metavar="URL",
        show_default=f"{LOCAL_URL}, if migsched answers there; else through the kubeconfig's cluster",
        help="Where the capacity API answers.",
    ),
]
CLUSTER_FLAGS: dict[str, Any] = {
    "kubeconfig": Annotated[
        Path | None,
        typer.Option(
            help="Ask the scheduler of this kubeconfig's cluster, by a port-forward; with --api-url: its user asks.",
            show_default="KUBECONFIG, else ~/.kube/config",
        ),
    ],
    "context": Annotated[str | None, typer.Option(help="The same, by this context of the kubeconfig.")],
    "scheduler_namespace": Annotated[
        str | None, typer.Option(help="The namespace that the scheduler runs in.", show_default=NAMESPACE)
    ],
    "token_file": Annotated[
        Path | None,
        typer.Option(
            help="Send the token in this file, where the API is locked.",
            show_default=f"{credentials.VARIABLE}, else the token of the kubeconfig's user",
        ),
    ],
    "certificate_authority": Annotated[
        Path | None,
        typer.Option(
            help="Take this authority's certificates for the API's.",
            show_default="what this machine trusts; through a cluster, what the API server leads to",
        ),
    ],
}


class NoAnswerError(errors.MigschedError):
    """The API does not answer, or not with what was asked for."""


class NotThereError(errors.MigschedError):
    """The API answers that there is no such thing (404)."""


class Reply(NamedTuple):
    """What a server answered; `server` is how it calls itself."""

    status: int
    body: bytes
    server: str


class CapacityApi(Protocol):
    """Somebody to ask, for as long as it is open."""

    @property
    def where(self) -> str:
        """Its name in errors."""

    @property
    def without_token(self) -> str:
        """Why no token is sent; empty if one is."""

    def get(self, target: str) -> Reply:
        """The answer to a GET. Raises NoAnswerError where none came."""


def get(api_url: Address, path: str, read: Callable[[Any], T], **query: str) -> T:
    """The answer to a GET, decoded and made sense of by `read`.

    Raises SettingsError for an address that is none, NotThereError, NoAnswerError, also where `read` raises KeyError or
    TypeError.
    """
    with opened(api_url) as api:
        return ask(api, path, read, **query)


def get_text(api_url: Address, path: str, **query: str) -> bytes:
    """The answer to a GET as it came. Raises as `get` does."""
    with opened(api_url) as api:
        return ask_text(api, path, **query)


@contextlib.contextmanager
def opened(address: Address, *, local_url: str = LOCAL_URL) -> Iterator[CapacityApi]:
    """The API at an address. Raises SettingsError for one that is none, NoAnswerError, ClusterError.

    `local_url` is where a scheduler on this machine would be.
    """
    token = credentials.named(address.token_file)
    if address.url is not None:
        yield _Direct(address.url, token or _users_token(address), address.certificate_authority)
        return
    files = kubeconfigs(address.kubeconfig)
    if address.local and (_is_migsched(local_url) or not files):
        if files and sys.stderr.isatty():
            print(f"migsched: asking {local_url}; --context NAME asks a cluster", file=sys.stderr)  # noqa: T201
        yield _Direct(local_url, token)
        return
    if not files:
        fix = "there is no kubeconfig: set KUBECONFIG, or name the API by --api-url"
        raise errors.SettingsError("kubeconfig", "~/.kube/config", fix)
    from cli import forwarded_api  # Kubernetes' client is slow to load

    authority = address.certificate_authority
    with forwarded_api.opened(files, address.context, address.namespace, token=token, authority=authority) as api:
        yield api


def _users_token(address: Address) -> str:
    """The token of the user that is named beside a URL; empty where none is. Raises SettingsError."""
    if not address.names_user:
        return ""
    token = credentials.of_kubeconfig(kubeconfigs(address.kubeconfig), address.context)
    if not token:
        name, value = ("context", address.context) if address.context else ("kubeconfig", str(address.kubeconfig))
        raise errors.SettingsError(name, value, f"is of no use with --api-url: {credentials.NO_TOKEN}")
    return token


def kubeconfigs(flag: Path | None) -> list[Path]:
    """The kubeconfig files that count: the flag's, else those of KUBECONFIG that exist, else the home folder's."""
    if flag is not None:
        return [flag]
    named = os.environ.get("KUBECONFIG", "")
    files = [Path(name) for name in named.split(os.pathsep) if name] or [Path.home() / ".kube" / "config"]
    return [file for file in files if file.exists()]


def ask(api: CapacityApi, path: str, read: Callable[[Any], T], **query: str) -> T:
    """See `get`, of an API that is open."""
    try:
        return read(msgspec.json.decode(ask_text(api, path, **query)))
    except (msgspec.DecodeError, KeyError, TypeError, AttributeError) as error:
        raise NoAnswerError(f"--api-url: what answers at {api.where} is not migsched ({error!r})") from error


def ask_text(api: CapacityApi, path: str, **query: str) -> bytes:
    """See `get_text`, of an API that is open."""
    target = f"{path}?{urllib.parse.urlencode(query)}" if query else path
    reply = api.get(target)
    if reply.status < 300:
        return reply.body
    said = _detail(reply.body)
    if reply.server != SERVER and reply.status < 500 and not said.ours:
        shown = f"it calls itself {reply.server[:_SHOWN]!r}" if reply.server else "it does not say what it is"
        raise NoAnswerError(
            f"--api-url: what answers at {api.where} is not migsched (HTTP {reply.status}; {shown}); "
            "name where migsched's API answers"
        )
    if reply.status == 401:
        why = f"{api.without_token}; {credentials.HOW}" if api.without_token else said.text
        raise NoAnswerError(f"{api.where} is locked (HTTP 401): {why}")
    if reply.status == 404:
        raise NotThereError(said.text or "no such thing")
    raise NoAnswerError(f"{api.where}{target}: HTTP {reply.status}: {said.text}".rstrip(": "))


class _Direct:
    """The API at a URL."""

    def __init__(self, url: str, token: str = "", authority: Path | None = None, *, seconds: float = SECONDS) -> None:
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise errors.SettingsError("api_url", url, f"must be a URL such as {LOCAL_URL}")
        self.where = url.rstrip("/")
        self.without_token = "" if token else "no token was sent"
        self._seconds = seconds
        credentials.check_travels(url, token)
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        # a proxy could not reach a loopback address, and what a file: URL redirects to is not ours
        handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({}), _NoRedirect()]
        if parts.scheme == "https":
            handlers.append(urllib.request.HTTPSHandler(context=credentials.trust(authority)))
        self._opener = urllib.request.build_opener(*handlers)

    def get(self, target: str) -> Reply:
        """See CapacityApi."""
        try:
            asked = urllib.request.Request(f"{self.where}{target}", headers=self._headers)
            with self._opener.open(asked, timeout=self._seconds) as answer:
                return Reply(answer.status, answer.read(), answer.headers.get("Server", ""))
        except urllib.error.HTTPError as error:
            with error:
                return Reply(error.code, error.read(), error.headers.get("Server", ""))
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", error)
            raise NoAnswerError(
                f"--api-url: no answer from {self.where}{target} ({reason}); "
                "is `migsched scheduler` or `migsched demo` running there? --context NAME asks a cluster's scheduler"
            ) from error


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """The API never redirects: whoever does is somebody else."""

    def redirect_request(self, *_: Any) -> None:
        """Not followed."""


def _is_migsched(url: str) -> bool:
    try:
        return _Direct(url, seconds=_LOCAL_SECONDS).get("/livez").server == SERVER
    except NoAnswerError:
        return False


class _Detail(NamedTuple):
    """What an answer says is wrong, and whether only migsched says it so."""

    text: str
    ours: bool


def _detail(body: bytes) -> _Detail:
    try:
        answer = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return _Detail("", False)
    if not isinstance(answer, dict):
        return _Detail("", False)
    extender = answer.get("Error")  # the extender's word, which has no header
    return _Detail(str(answer.get("detail") or extender or ""), isinstance(extender, str))
