"""What each hand-made thing on a pod's way gains over what it replaces, as ratios taken in turns in one run.

Run by hand: `python -m benchmarks.hand_made http-client`, `http-client-whole`, `one-write`, `node-names` or
`quantities`. The figures stand in ADRs 0013, 0005, 0006 and 0018 with the figure at which each of these things goes.
"""

import argparse
import asyncio
import http.client
import json
import resource
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import uvicorn
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from allocator.eligibility import quantity
from benchmarks.servers.extender_server import node_names
from kubeclient.http_client import HttpClient
from scheduler.extender import wire
from scheduler.extender.one_write import OneWriteProtocol
from testbed.control_plane import certificates

Figures = Mapping[str, float]

BINDING = json.dumps({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "pod-1", "uid": "u" * 36}}).encode()
REPLY = b'{"Nodes":null,"NodeNames":["n"],"FailedNodes":{},"FailedAndUnresolvableNodes":{},"Error":""}'
QUANTITIES = ("250m", "100m", "2", "500m", "64Gi", "512Mi", "131895296Ki", "1.5", "10Gi", "110", "3900m", "1e3", "4G")
PROTOCOLS = {"one write": OneWriteProtocol, "uvicorn": HttpToolsProtocol}


# --- a server process, which says what it has used ---------------------------------------------------------------


async def _application(scope: Scope, receive: Receive, send: Send) -> None:
    """Read the body; answer what a filter call gets, or at /usage what this process has used."""
    while (await receive()).get("more_body"):
        pass
    body = json.dumps(_usage()).encode() if scope["path"] == "/usage" else REPLY
    await Response(body, media_type="application/json")(scope, receive, send)


def _usage() -> Figures:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {"cpu": (used.ru_utime + used.ru_stime) * 1e6, "switches": float(used.ru_nvcsw)}


def _serve(protocol: str, tls: Path | None) -> None:
    made = certificates.ensure(tls) if tls else None
    config = uvicorn.Config(
        _application,
        port=0,
        http=PROTOCOLS[protocol],
        loop="uvloop",
        log_level="warning",
        access_log=False,
        lifespan="off",
        ssl_certfile=str(made.serving) if made else None,
        ssl_keyfile=str(made.serving_key) if made else None,
    )
    listening = config.bind_socket()
    listening.listen()
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    print(listening.getsockname()[1], flush=True)  # noqa: T201 - read by the parent
    uvicorn.Server(config).run(sockets=[listening])


@contextmanager
def _server(protocol: str, tls: Path | None = None) -> Iterator[int]:
    """A server process; its port."""
    command = [sys.executable, "-m", "benchmarks.hand_made", "serve", "--protocol", protocol]
    with subprocess.Popen([*command, *(("--tls", str(tls)) if tls else ())], stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        try:
            yield int(run.stdout.readline())
        finally:
            run.kill()


# --- the measurements --------------------------------------------------------------------------------------------


def one_write(rounds: int, calls: int) -> Mapping[str, Figures]:
    """Microseconds and voluntary context switches per call, of server and client, by protocol."""
    with _server("one write") as first, _server("uvicorn") as second:
        clients = {"one write": _blocking_client(first), "uvicorn": _blocking_client(second)}
        return _in_turns({name: _calls_of(client, calls) for name, client in clients.items()}, rounds, calls)


def _blocking_client(port: int) -> http.client.HTTPConnection:
    client = http.client.HTTPConnection("127.0.0.1", port)
    client.connect()
    client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return client


def _calls_of(client: http.client.HTTPConnection, calls: int) -> Callable[[], Figures]:
    def ask(path: str) -> bytes:
        client.request("POST", path, BINDING)
        return client.getresponse().read()

    def measure() -> Figures:
        server, own, began = json.loads(ask("/usage")), _usage(), time.perf_counter()
        for _ in range(calls):
            ask("/v1/filter")
        took, spent, server_spent = time.perf_counter() - began, _usage(), json.loads(ask("/usage"))
        return {
            "time": took * 1e6,
            **{f"client {what}": spent[what] - own[what] for what in own},
            **{f"server {what}": server_spent[what] - server[what] for what in server},
        }

    return measure


def node_names_search(rounds: int, calls: int, nodes: int = 1000) -> Mapping[str, Figures]:
    """Microseconds for a filter call's question whether one certain node is among `nodes`, raw and decoded."""
    raw = msgspec.Raw(msgspec.json.encode(node_names(nodes)))
    wanted = node_names(nodes)[nodes * 2 // 3]
    decoder = msgspec.json.Decoder(list[str])

    def timed(ask: Callable[[], bool]) -> Callable[[], Figures]:
        def measure() -> Figures:
            began = time.process_time()
            assert all(ask() for _ in range(calls))
            return {"cpu": (time.process_time() - began) * 1e6}

        return measure

    kinds = {
        "raw": timed(lambda: wanted in wire.NodeNames(raw)),
        "decoded": timed(lambda: wanted in decoder.decode(raw)),
    }
    return _in_turns(kinds, rounds, calls)


async def http_client(rounds: int, calls: int) -> Mapping[str, Figures]:
    """Microseconds of this process's CPU per Binding over TLS, by client, one after the other."""
    from benchmarks.servers.library_client import LibraryClient  # not in the server processes

    with tempfile.TemporaryDirectory() as directory, _server("uvicorn", Path(directory)) as port:
        trusting = ssl.create_default_context(cafile=str(certificates.ensure(Path(directory)).authority))
        url = f"https://127.0.0.1:{port}"
        clients: Mapping[str, HttpClient | LibraryClient] = {
            "own": HttpClient(url, lambda: trusting, calls=16),
            "aiohttp": LibraryClient(url, lambda: trusting, calls=16),
        }
        headers = {"Authorization": "Bearer token", "Content-Type": "application/json"}
        figures: dict[str, list[Figures]] = {name: [] for name in clients}
        for _ in range(rounds):
            for name, client in clients.items():
                began = time.process_time()
                for _ in range(calls):
                    await client.call("POST", "/bind", headers, BINDING, timeout_s=30)
                figures[name].append({"cpu": (time.process_time() - began) * 1e6 / calls})
        for client in clients.values():
            await client.close()
    return {name: _medians(of) for name, of in figures.items()}


def http_client_whole(rounds: int, pods: int, nodes: int) -> Mapping[str, Figures]:
    """Pods per second, and milliseconds of CPU per pod of each process, with the service on either client."""
    from benchmarks import scheduler  # not in the server processes

    runs = scheduler.compare(("library client", "extender"), nodes, pods, rounds, _report)
    ratios = [library.pods_per_s / own.pods_per_s for library, own in zip(*runs.values(), strict=True)]
    _report(f"pods per second, library client over own, by pair: {[round(ratio, 2) for ratio in sorted(ratios)]}")
    _report(f"their median: {statistics.median(ratios):.3f}")
    return {
        variant: _medians([{"pods per s": run.pods_per_s, **run.cpu_ms_per_pod} for run in of])
        for variant, of in runs.items()
    }


def quantities(rounds: int, calls: int) -> Mapping[str, Figures]:
    """Microseconds for a usual quantity, read by ours and by the official client's parser."""
    from kubernetes.utils.quantity import parse_quantity

    def timed(parse: Callable[[str], object]) -> Callable[[], Figures]:
        def measure() -> Figures:
            began = time.process_time()
            for _ in range(calls):
                for text in QUANTITIES:
                    parse(text)
            return {"cpu": (time.process_time() - began) / len(QUANTITIES) * 1e6}

        return measure

    return _in_turns({"own": timed(quantity.parse), "client": timed(parse_quantity)}, rounds, calls)


def _report(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201 - progress of minutes


def _in_turns(kinds: Mapping[str, Callable[[], Figures]], rounds: int, calls: int) -> Mapping[str, Figures]:
    """The medians per call of each kind, measured in turns: what else the machine does meets all of them."""
    figures: dict[str, list[Figures]] = {name: [] for name in kinds}
    for _ in range(rounds):
        for name, measure in kinds.items():
            figures[name].append({what: value / calls for what, value in measure().items()})
    return {name: _medians(of) for name, of in figures.items()}


def _medians(of: list[Figures]) -> Figures:
    return {what: statistics.median(figures[what] for figures in of) for what in of[0]}


def _table(figures: Mapping[str, Figures]) -> str:
    """One line per figure: each kind's median, and the first over the second."""
    (first, ours), (second, theirs) = figures.items()
    lines = [f"{'per call':18}{first:>12}{second:>12}{'ratio':>8}"]
    for what, value in ours.items():
        ratio = value / theirs[what] if theirs[what] else float("nan")
        lines.append(f"{what:18}{value:12.2f}{theirs[what]:12.2f}{ratio:8.2f}")
    return "\n".join(lines)


def main() -> None:
    """Measure one thing, or be the server."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "what", choices=("http-client", "http-client-whole", "one-write", "node-names", "quantities", "serve")
    )
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--calls", type=int, default=500)
    parser.add_argument("--nodes", type=int, default=1000)
    parser.add_argument("--protocol", choices=tuple(PROTOCOLS), default="uvicorn")
    parser.add_argument("--tls", type=Path, default=None)
    given = parser.parse_args()
    if given.what == "serve":
        return _serve(given.protocol, given.tls)
    figures: Any
    if given.what == "http-client":
        import uvloop

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            figures = runner.run(http_client(given.rounds, given.calls))
    elif given.what == "http-client-whole":
        figures = http_client_whole(given.rounds, given.calls, given.nodes)
    elif given.what == "one-write":
        figures = one_write(given.rounds, given.calls)
    elif given.what == "quantities":
        figures = quantities(given.rounds, given.calls)
    else:
        figures = node_names_search(given.rounds, given.calls, given.nodes)
    print(_table(figures))  # noqa: T201 - the answer
    return None


if __name__ == "__main__":
    main()
