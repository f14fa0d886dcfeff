"""Connections from this machine into a node's network, where its pods have their addresses. Called by `real_node`.

A socket belongs to the network namespace of the thread that made it, and stays there. So a thread of its own goes into
the node's network, makes the socket and ends; no other thread of this process ever leaves this machine's network.
"""

import ctypes
import os
import socket
from concurrent import futures
from pathlib import Path

_CLONE_NEWNET = 0x40000000  # linux/sched.h; os.setns comes with Python 3.12 only


def connect(pid_file: Path, address: str, port: int, timeout_s: float) -> socket.socket:
    """A connected TCP socket, made in the network of the process that `pid_file` names.

    Raises OSError where that process is gone, or nobody accepts within `timeout_s`.
    """
    made = _socket_in(Path(f"/proc/{pid_file.read_text(encoding='ascii').strip()}/ns/net"))
    try:
        made.settimeout(timeout_s)
        made.connect((address, port))
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # else a request's body waits 40 ms for an answer
    except BaseException:
        made.close()
        raise
    return made


def _socket_in(namespace: Path) -> socket.socket:
    libc = ctypes.CDLL(None, use_errno=True)

    def go_there() -> socket.socket:
        descriptor = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
        try:
            if libc.setns(descriptor, _CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(namespace))
        finally:
            os.close(descriptor)
        return socket.socket(socket.AF_INET, socket.SOCK_STREAM)

    with futures.ThreadPoolExecutor(max_workers=1, thread_name_prefix="pod-network") as thread:
        return thread.submit(go_there).result()
