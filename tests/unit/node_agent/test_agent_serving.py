"""What the kubelet's probes and Prometheus are answered."""

import contextlib
import http.client
import socket
import threading

import prometheus_client
import pytest

from allocator.errors import SettingsError
from node_agent import serving
from node_agent.metrics import Metrics

LOOPBACK = "127.0.0.1"


def nothing_missing() -> serving.Health:
    """Of an agent that serves."""
    return serving.Health(lambda: None)


def ask(port: int, path: str) -> tuple[int, str]:
    """Status and body of one GET."""
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=10)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def test_probes_and_metrics_are_answered() -> None:
    """/readyz says what is waited for until nothing is, /livez that the event loop turns; the rest is metrics."""
    now = [0.0]
    missing: list[str | None] = ["the first step"]
    health = serving.Health(lambda: missing[0], lambda: now[0])
    with serving.serve(LOOPBACK, 0, Metrics().registry, health) as port:
        assert ask(port, "/readyz") == (503, "waits for the first step\n")
        missing[0] = None
        assert ask(port, "/readyz") == (200, "ok\n")
        assert ask(port, "/livez") == (200, "ok\n")
        assert "migsched_agent_steps_total 0.0" in ask(port, "/metrics")[1]
        now[0] += serving.STANDSTILL_S + 1
        assert ask(port, "/livez") == (503, "the event loop has stood still for 61 s\n")
        health.beat()
        assert ask(port, "/livez") == (200, "ok\n")


def test_a_silent_client_keeps_no_probe_waiting() -> None:
    """A connection on which nothing is asked does not hold up the next one."""
    with serving.serve(LOOPBACK, 0, prometheus_client.CollectorRegistry(), nothing_missing()) as port:
        silent = http.client.HTTPConnection(LOOPBACK, port, timeout=10)
        silent.connect()
        try:
            assert ask(port, "/livez")[0] == 200
        finally:
            silent.close()


def test_a_port_that_is_taken_is_named() -> None:
    """The setting is named, not the errno alone."""
    with (
        serving.serve(LOOPBACK, 0, prometheus_client.CollectorRegistry(), nothing_missing()) as port,
        pytest.raises(SettingsError, match="metrics_port"),
        serving.serve(LOOPBACK, port, prometheus_client.CollectorRegistry(), nothing_missing()),
    ):
        pass


def test_silent_connections_take_neither_threads_nor_log_lines(capfd: pytest.CaptureFixture[str]) -> None:
    """With 500 connections that say nothing or nonsense, probes and metrics are answered by one thread, and quietly."""
    with serving.serve(LOOPBACK, 0, Metrics().registry, nothing_missing()) as port:
        threads = threading.active_count()
        with contextlib.ExitStack() as stack:
            for number in range(500):
                stack.enter_context(contextlib.closing(client := socket.create_connection((LOOPBACK, port), 10)))
                if number % 2:
                    client.sendall(b"\x16\x03\x01 no HTTP at all\r\n\r\n")
            assert ask(port, "/livez") == (200, "ok\n")
            assert ask(port, "/readyz") == (200, "ok\n")
            assert ask(port, "/metrics")[0] == 200
            assert threading.active_count() <= threads  # fewer, if one that an earlier test left has ended
    assert capfd.readouterr().err == ""


def test_a_silent_connection_is_closed() -> None:
    """A client that says nothing is not waited for longer than for a head."""
    assert serving.LIMITS.head_s <= 10
    assert serving.LIMITS.total <= 64
