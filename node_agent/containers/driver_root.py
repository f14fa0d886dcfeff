"""DriverRoot: where the driver's files are, as the agent sees them and as the host has them."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class DriverRoot:
    """A folder with the driver's `usr` and, in a driver container, `dev`: as `seen` here, and the `host` has it."""

    seen: Path = Path("/")
    host: Path = Path("/")

    @property
    def dev(self) -> Path:
        """The folder above the `dev` that has the driver's device nodes, as seen here."""
        return self.seen if (self.seen / "dev" / "nvidiactl").exists() else Path("/")

    def on_host(self, path: Path) -> Path:
        """The host's path of a file seen here; that of one elsewhere is the same."""
        return self.host / path.relative_to(self.seen) if path.is_relative_to(self.seen) else path

    def here(self, host_path: Path) -> Path | None:
        """The path here of a file of the host; None where it cannot be seen."""
        return self.seen / host_path.relative_to(self.host) if host_path.is_relative_to(self.host) else None
