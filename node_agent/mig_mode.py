"""MIG mode: puts the selected GPUs into it. Used by reconciler.

A GPU is asked for MIG mode only while no container has it. Then the driver decides. Hopper and later switch at once,
Ampere needs a reset, which the driver makes itself; both only when nothing uses the GPU, and monitoring daemons are
users too. NVML tells that the call failed by its return code, and that the mode is merely pending by the activation
status of a call that succeeded. The agent never resets a GPU, and never switches MIG mode off.
"""

import structlog

from node_agent.gpu import device
from node_agent.gpu.device import EventKind, GpuInfo, GpuState, ModeChange
from node_agent.state import AgentState

_log = structlog.get_logger("mode")

AGAIN_S = 30.0  # before a GPU whose users kept the mode pending is asked again
PENDING = {
    3: "the driver cannot activate it here; is the GPU passed through to a virtual machine?",
    16: "it takes a reset of the GPU or a reboot of the node",
    19: "something uses the GPU, if only a monitoring daemon (dcgm, nvsm); it is tried again",
}


class ModeSwitch:
    """Puts the selected GPUs into MIG mode, each under its lock. The caller does not hold the state's lock."""

    def __init__(self, state: AgentState) -> None:
        self._state = state
        self._asked_at: dict[str, float] = {}
        self._absent: list[str] = []

    def switch(self) -> None:
        """Request MIG mode on selected GPUs where it is not in force and no container is listed with the GPU."""
        selected = self._state.options.manage_mig_mode
        with self._state.lock:
            infos = [gpu.info for gpu in self._state.view.gpus.values()]
            self._log_absent(selected.absent(infos))
            out_of_service = self._state.out_of_service
        for info in infos:
            if selected.covers(info) and info.uuid not in out_of_service:
                with self._state.gpu_locks.try_hold(info.uuid) as held:
                    if held and self._is_due(info):
                        self._ask(info)
                        self._state.discover()
                        self._state.refresh_gpus([info.uuid])

    def _is_due(self, info: GpuInfo) -> bool:
        if info.mode is None or info.mode.current or info.state not in (GpuState.MIG_OFF, GpuState.MODE_PENDING):
            self._state.note_mode(info.uuid, None)
            return False
        asked = self._asked_at.get(info.uuid)
        return (asked is None or self._state.clock() - asked >= AGAIN_S) and not self._state.may_be_used(info.uuid)

    def _ask(self, info: GpuInfo) -> None:
        self._asked_at[info.uuid] = self._state.clock()
        try:
            change = self._state.devices.set_mode(info.uuid, True)
        except device.DeviceError as error:
            self._state.note_mode(info.uuid, f"MIG mode cannot be switched on: {error}")
            _log.warning("cannot switch MIG mode on", gpu=info.uuid, error=str(error))
            return
        self._state.on_events([device.DeviceEvent(info.uuid, EventKind.GEOMETRY_CHANGED)])
        if change.in_force:
            self._state.note_mode(info.uuid, None)
            _log.info("MIG mode is on", gpu=info.uuid)
        else:
            self._state.note_mode(info.uuid, f"MIG mode is asked for and not in force: {_why(change)}")
            _log.warning("MIG mode is pending", gpu=info.uuid, activation=change.activation, why=_why(change))

    def _log_absent(self, absent: list[str]) -> None:
        if absent != self._absent:
            self._absent = absent
            if absent:
                _log.warning("manage_mig_mode names GPUs that this node does not have", names=absent)


def _why(change: ModeChange) -> str:
    return PENDING.get(change.activation, f"activation status {change.activation}")
