"""The app of the story: clients that chat through the ingress and ask Triton beside it, and count what comes back."""

import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from dataclasses import dataclass, field

from testbed.consumers import dynamo, triton

_CLIENTS = 2  # of each kind


@dataclass(slots=True)
class Tally:
    """What became of one kind of requests."""

    latencies_s: list[float] = field(default_factory=list)
    failed: Counter[str] = field(default_factory=Counter)
    served_by: Counter[str] = field(default_factory=Counter)

    def line(self, name: str, seconds: float) -> str:
        """Requests per second and latencies, for people."""
        if not self.latencies_s:
            return f"{name}: nothing was answered; {dict(self.failed)}"
        ordered = sorted(self.latencies_s)
        middle, late = (ordered[int(share * (len(ordered) - 1))] * 1000 for share in (0.5, 0.99))
        failed = f", {self.failed.total()} failed {dict(self.failed)}" if self.failed else ", none failed"
        rate = len(ordered) / seconds
        return f"{name}: {rate:.0f} requests/s, half within {middle:.0f} ms, 99 % within {late:.0f} ms{failed}"


class App:
    """Clients that ask from `start` on. A context manager."""

    def __init__(self, url: str, model: str) -> None:
        chat = (f"{url}/v1/chat/completions", dynamo.chat(model, "Which slice am I on?", tokens=16))
        self._kinds = {"Dynamo": chat, "Triton": (f"{url}{triton.INFER}", triton.question())}
        self.tallies = {name: Tally() for name in self._kinds}
        self._over = threading.Event()
        self._since = 0.0
        self._threads = [
            threading.Thread(target=self._ask, args=(name,), name=f"app-{name}-{number}")
            for name in self._kinds
            for number in range(_CLIENTS)
        ]

    def __enter__(self) -> "App":
        self._since = time.monotonic()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def lines(self) -> list[str]:
        """What has been measured since the start."""
        seconds = time.monotonic() - self._since
        return [tally.line(name, seconds) for name, tally in self.tallies.items()]

    def _ask(self, name: str) -> None:
        url, body = self._kinds[name]
        tally = self.tallies[name]
        while not self._over.is_set():
            started = time.monotonic()
            try:
                request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
                with urllib.request.urlopen(request, timeout=30) as answer:
                    content = answer.read()
            except urllib.error.HTTPError as error:
                tally.failed[f"status {error.code}"] += 1
                continue
            except OSError as error:
                tally.failed[type(error).__name__] += 1
                continue
            tally.latencies_s.append(time.monotonic() - started)
            if name == "Triton":
                tally.served_by[triton.answer(content)["SLICE"]] += 1
