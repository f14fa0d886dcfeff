"""ModeMachine: MIG mode of one simulated GPU, in force and pending. Used by gpu.

Ampere takes a new mode only with a GPU reset, which the driver does itself when nothing uses the GPU and cannot do
when the GPU is passed through to a virtual machine; the mode is kept in the InfoROM and survives a reboot. Hopper
and later switch at once when idle, and forget the mode with every reset and reboot.
"""

IN_FORCE = 0
RESET_REQUIRED = 16
IN_USE = 19


class ModeMachine:
    """Current and pending MIG mode. `needs_reset` is Ampere's way, `passthrough` a GPU inside a virtual machine."""

    def __init__(self, *, enabled: bool, needs_reset: bool, passthrough: bool = False) -> None:
        self.current = enabled
        self.pending = enabled
        self.needs_reset = needs_reset
        self.passthrough = passthrough

    def request(self, enabled: bool, *, busy: bool) -> int:
        """Ask for a mode: the activation status as NVML returns it, 0 when the mode is in force now."""
        self.pending = enabled
        if enabled == self.current:
            return IN_FORCE
        if self.needs_reset and self.passthrough:
            return RESET_REQUIRED
        if busy:
            return IN_USE
        self.current = enabled
        return IN_FORCE

    def reset(self) -> None:
        """A GPU reset, a reboot or a reload of the driver."""
        self.current = self.pending if self.needs_reset else False
        self.pending = self.current
