"""Reads what a container wrote from the files that containerd keeps for the kubelet. Called by `real_node`.

A line of such a file is `TIME STREAM P|F TEXT`, where P means that the text goes on in the next line of the same stream
(https://github.com/kubernetes/design-proposals-archive/blob/main/node/kubelet-cri-logging.md). There is one file for
each start of the container: `PODS/NAMESPACE_POD_UID/CONTAINER/COUNT.log`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from testbed.node import errors


def read(directory: Path, pod: Mapping[str, Any], container: str | None = None) -> str:
    """What a container wrote since it was last started, both streams in order.

    `directory` holds the logs of all pods of the node, `pod` is the Pod object. Without `container` the pod's first one
    is read.

    Raises PodError where there is no such file: the container has not been started, or has another name.
    """
    metadata = pod["metadata"]
    name = container or pod["spec"]["containers"][0]["name"]
    place = directory / f"{metadata['namespace']}_{metadata['name']}_{metadata['uid']}" / name
    files = sorted(place.glob("*.log"), key=lambda path: int(path.stem))
    if not files:
        pod_name = f"{metadata['namespace']}/{metadata['name']}"
        raise errors.PodError(f"container {name} of pod {pod_name} has written no log yet: nothing in {place}")
    return text(files[-1].read_text(encoding="utf-8", errors="replace"))


def text(written: str) -> str:
    """The text in the lines of a container's log file."""
    parts: list[str] = []
    for line in written.splitlines():
        _time, _stream, tag, content = line.split(" ", 3)
        parts.append(content if tag.startswith("P") else f"{content}\n")
    return "".join(parts)
