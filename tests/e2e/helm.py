"""Helm as tests of deploy/chart run it: the caller's own configuration and clusters are neither read nor written."""

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.unit.deploy import manifests

RELEASE, NAMESPACE = "migsched", "migsched-system"
_TIMEOUT_S = 100

Document = dict[str, Any]


class Helm:
    """One `helm`, with a home of its own."""

    def __init__(self, program: Path, home: Path) -> None:
        self._program = program
        self._home = home

    def run(
        self, *arguments: str, values: Mapping[str, Any] | None = None, kubeconfig: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run it, with values of a chart if there are any. The exit status is the caller's to look at."""
        given = [] if values is None else ["--values=-"]
        folders = {f"HELM_{name}_HOME": str(self._home) for name in ("CACHE", "CONFIG", "DATA")}
        return subprocess.run(
            [self._program, *arguments, *given],
            input="" if values is None else json.dumps(values),
            env={
                "PATH": os.environ.get("PATH", os.defpath),
                "HOME": str(self._home),
                "KUBECONFIG": str(kubeconfig or self._home / "none"),
                **folders,
            },
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )

    def template(self, values: Mapping[str, Any], *arguments: str, namespace: str = NAMESPACE) -> list[Document]:
        """The chart's objects with these values."""
        done = self._template(values, namespace, *arguments)
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        return [document for document in yaml.load_all(done.stdout, _LOADER) if document]

    def refusal(self, values: Mapping[str, Any], *arguments: str) -> str:
        """Why the chart refuses these values."""
        done = self._template(values, NAMESPACE, *arguments)
        assert done.returncode != 0, "taken"
        return done.stderr

    def install(self, values: Mapping[str, Any], *arguments: str, kubeconfig: Path, verb: str = "install") -> str:
        """Install or upgrade the release in a cluster; what Helm says."""
        command = [verb, RELEASE, str(manifests.CHART), "--namespace", NAMESPACE, *arguments]
        done = self.run(*command, values=values, kubeconfig=kubeconfig)
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    def _template(self, values: Mapping[str, Any], namespace: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.run("template", RELEASE, str(manifests.CHART), "--namespace", namespace, *arguments, values=values)


_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the same language, ten times as fast
