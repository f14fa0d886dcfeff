"""Sockets of the service's two servers. Opened by `service`; the local cluster checks the ports before it starts."""

import socket

from allocator import errors
from scheduler.settings import Settings


def open_socket(host: str, port: int, setting: str) -> socket.socket:
    """A socket bound to this address. Raises SettingsError naming the setting whose port is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Accepted connections inherit it. Without it an answer's second segment waits 40 ms for kube-scheduler's ACK.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.bind((host, port))
    except OSError as error:
        sock.close()
        raise errors.SettingsError(
            setting, port, f"cannot listen on {host}:{port} ({error.strerror}); free it or choose another"
        ) from error
    return sock


def check_ports(settings: Settings) -> None:
    """Raise SettingsError, naming the setting, for a port that is taken: before a cluster is made for a service."""
    open_socket(settings.extender_host, settings.extender_port, "extender_port").close()
    open_socket(settings.api_host, settings.api_port, "api_port").close()
