"""ServerSettings: how the extender and the API are reached, and how the API server is. Part of `settings`."""

import ipaddress
from pathlib import Path
from typing import Annotated

from pydantic import Field
from pydantic_settings import BaseSettings

from allocator import errors
from scheduler import certificate
from scheduler.lock.terms import KNOWN_S, ApiAccess, LockTerms

Port = Annotated[int, Field(ge=0, le=65535)]


class ServerSettings(BaseSettings):
    """The fields of both servers."""

    extender_host: str = Field("127.0.0.1", description="Address of the extender: loopback, beside kube-scheduler.")
    extender_port: Port = Field(8765, description="Port of the extender; 0 takes a free one.")
    extender_cert: Path | None = Field(
        None,
        description="PEM certificate of the extender, for a scheduler outside its pod; without it, plain HTTP. Read "
        "again when it changes.",
    )
    extender_key: Path | None = Field(None, description="PEM key of extender_cert.")
    extender_client_ca: Path | None = Field(
        None, description="PEM authority of the certificates that callers of the extender have to show."
    )
    api_host: str = Field("0.0.0.0", description="Address of the capacity API, health and metrics.")
    api_port: Port = Field(8080, description="Port of the capacity API; 0 takes a free one.")
    api_access: ApiAccess = Field(
        ApiAccess.LOOPBACK,
        description="Who may ask the capacity API: everybody on this machine, if api_host is a loopback address "
        "(loopback); users of the cluster with a bearer token and the right (tokens, docs/deploy.md); everybody who "
        "reaches it (open). Probes are always answered.",
    )
    api_cert: Path | None = Field(
        None,
        description="PEM certificate of the capacity API, which is then served over TLS. Read again when it changes.",
    )
    api_key: Path | None = Field(None, description="PEM key of api_cert.")
    api_open_metrics: bool = Field(False, description="Answer /metrics without a token.")
    api_audiences: str = Field(
        "",
        description="Audiences by commas, of which a token has to be made for one; without them tokens are those of "
        "the API server.",
    )
    api_known_s: float = Field(
        KNOWN_S,
        ge=1,
        le=300,
        description="How long what the API server said of a token and of a right counts; a token's own end comes "
        "first.",
    )
    api_hosts: str = Field(
        "migsched,migsched.migsched-system,migsched.migsched-system.svc,migsched.migsched-system.svc.cluster.local",
        description="Names under which the capacity API is reached, by commas; IP addresses and localhost always are. "
        "* admits every name, and with it DNS rebinding.",
    )
    api_connections: int = Field(
        256,
        ge=8,
        le=10_000,
        description="Connections to the capacity API; a quarter of them from one address. Beyond, the longest idle one "
        "is closed.",
    )
    api_calls: int = Field(
        32,
        ge=4,
        le=1000,
        description="Calls of the capacity API at once; a quarter of them from one address. A further one gets 503.",
    )
    api_max_body_mib: int = Field(
        1, ge=1, le=64, description="Largest document sent to the capacity API in MiB; a larger one gets 413."
    )
    api_memory_mib: int = Field(
        384, ge=256, description="Address space of the process that serves the capacity API in MiB."
    )
    kubeconfig: Path | None = Field(None, description="Kubeconfig file; without it the pod's service account is used.")

    def lock_terms(self) -> LockTerms:
        """Who may ask the API, and over what. Raises SettingsError for an API that would be open by oversight."""
        files = certificate.pair("api", self.api_cert, self.api_key)
        local = _is_loopback(self.api_host)
        if self.api_access is ApiAccess.LOOPBACK and not local:
            fix = (
                f"is not enough for api_host {self.api_host!r}, which other machines reach: set tokens, which needs "
                "api_cert and api_key; or open, to let everybody ask; or api_host 127.0.0.1"
            )
            raise errors.SettingsError("api_access", self.api_access.value, fix)
        if self.api_access is ApiAccess.TOKENS and files is None and not local:
            fix = "needs api_cert and api_key, unless api_host is a loopback address: tokens do not travel in the clear"
            raise errors.SettingsError("api_access", self.api_access.value, fix)
        return LockTerms(
            certificate=str(files[0]) if files else "",
            key=str(files[1]) if files else "",
            tokens=self.api_access is ApiAccess.TOKENS,
            kubeconfig=str(self.kubeconfig) if self.kubeconfig else "",
            open_metrics=self.api_open_metrics,
            audiences=tuple(name.strip() for name in self.api_audiences.split(",") if name.strip()),
            known_s=self.api_known_s,
        )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
