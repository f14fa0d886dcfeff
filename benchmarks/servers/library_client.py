"""The HTTP client that would take the place of `kubeclient.http_client`: the same port over aiohttp, gathering
included. Run as a program it is the scheduler service on it. Used by `benchmarks.hand_made` (docs/adr/0013).
"""

import argparse
import asyncio
import contextlib
import signal
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import aiohttp
from yarl import URL

from kubeclient.http_client import CONNECT_S, KEPT_S, HttpAnswer
from kubeclient.http_connection import MAX_ANSWER, MUCH, AnswerTooLargeError

BUFFER = 2**20  # bytes of an answer that may wait for their reader


class LibraryStream:
    """See HttpStream."""

    def __init__(self, answer: aiohttp.ClientResponse, gather_s: float, max_answer: int) -> None:
        self._answer, self._gather_s, self._max_answer = answer, gather_s, max_answer

    @property
    def status(self) -> int:
        """See HttpStream."""
        return self._answer.status

    @property
    def retry_after(self) -> bytes:
        """See HttpStream."""
        return self._answer.headers.get("Retry-After", "").encode()

    async def read(self) -> bytes:
        """See HttpStream."""
        return await _body(self._answer, self._max_answer)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while chunk := await self._answer.content.readany():
            yield chunk
            if self._gather_s:
                self._gather(True)
                await asyncio.sleep(self._gather_s)
                self._gather(False)

    def _gather(self, on: bool) -> None:
        connection = self._answer.connection
        transport = connection.transport if connection is not None else None
        if transport is not None and not transport.is_closing():
            sock = transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, MUCH if on else 1)


class LibraryClient:
    """See HttpClient."""

    def __init__(
        self,
        url: str,
        tls: Callable[[], ssl.SSLContext],
        *,
        calls: int,
        server_name: str = "",
        max_answer: int = MAX_ANSWER,
    ) -> None:
        self._url, self._tls, self._server_name, self._max_answer = url.rstrip("/"), tls, server_name, max_answer
        self._slots = asyncio.Semaphore(calls)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEPT_S),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            skip_auto_headers=("Accept-Encoding",),
            read_bufsize=BUFFER,
        )

    async def call(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes | None = None,
        query: Mapping[str, str] | None = None,
        *,
        timeout_s: float,
    ) -> HttpAnswer:
        """See HttpClient."""
        timeout = aiohttp.ClientTimeout(total=timeout_s, connect=CONNECT_S)
        with _translated():
            async with self._slots, self._ask(method, path, headers, body, query, timeout) as answer:
                text = await _body(answer, self._max_answer)
                return HttpAnswer(answer.status, text, answer.headers.get("Retry-After", "").encode())

    @contextlib.asynccontextmanager
    async def stream(
        self,
        path: str,
        headers: Mapping[str, str],
        query: Mapping[str, str] | None = None,
        *,
        silence_s: float,
        gather_s: float = 0.0,
    ) -> AsyncIterator[LibraryStream]:
        """See HttpClient."""
        timeout = aiohttp.ClientTimeout(total=None, connect=CONNECT_S, sock_read=silence_s)
        with _translated():
            async with self._ask("GET", path, headers, None, query, timeout) as answer:
                yield LibraryStream(answer, gather_s, self._max_answer)

    async def close(self) -> None:
        """See HttpClient."""
        await self._session.close()

    def _ask(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes | None,
        query: Mapping[str, str] | None,
        timeout: aiohttp.ClientTimeout,
    ) -> Any:
        url = f"{self._url}{path}?{urlencode(query)}" if query else self._url + path
        return self._session.request(
            method,
            URL(url, encoded=True),
            headers=headers,
            data=body,
            allow_redirects=False,
            ssl=self._tls(),
            server_hostname=self._server_name or None,
            timeout=timeout,
        )


async def _body(answer: aiohttp.ClientResponse, max_answer: int) -> bytes:
    chunks, size = [], 0
    while chunk := await answer.content.readany():
        chunks.append(chunk)
        size += len(chunk)
        if size > max_answer:
            raise AnswerTooLargeError(max_answer)
    return b"".join(chunks)


@contextlib.contextmanager
def _translated() -> Any:
    try:
        yield
    except aiohttp.ClientError as error:
        raise ConnectionError(f"{type(error).__name__} {error}") from error


async def _run(kubeconfig: Path, **given: Any) -> None:
    from config import logs  # seconds to load, for those who want the client alone
    from kubeclient.kube import Connection
    from kubeclient.kubeconfig import Kubeconfig
    from scheduler import service
    from scheduler.cache.kube import KubeClient
    from scheduler.settings import Settings

    settings = Settings(kubeconfig=kubeconfig, **given)
    logs.configure(settings.log_format, settings.log_level)
    connection = Connection(await Kubeconfig.load(kubeconfig), make_http=LibraryClient)  # type: ignore[arg-type]  # same port
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    running = service.Service(settings, KubeClient(connection))
    await service.serve(running, stop, on_synced=service.freeze_gc)


def main() -> None:
    """The scheduler service, with the few settings that a benchmark needs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kubeconfig", type=Path, required=True)
    for name in ("extender-port", "api-port", "shortlist"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--api-host", required=True)
    parser.add_argument("--shortlist-slack", type=float, required=True)
    import uvloop

    uvloop.run(_run(**vars(parser.parse_args())))


if __name__ == "__main__":
    main()
