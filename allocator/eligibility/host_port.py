"""HostPort: a port of its node that a pod takes for itself."""

from dataclasses import dataclass

_ANY = ("", "0.0.0.0")


@dataclass(frozen=True, slots=True)
class HostPort:
    """A number, a protocol, and the node's address on which it is taken; every address, if that is empty."""

    number: int
    protocol: str = "TCP"
    address: str = ""

    def __str__(self) -> str:
        return f"{self.number}/{self.protocol}"

    def conflicts(self, other: "HostPort") -> bool:
        """Whether two pods of one node cannot have them."""
        if (self.number, self.protocol) != (other.number, other.protocol):
            return False
        return self.address == other.address or self.address in _ANY or other.address in _ANY
