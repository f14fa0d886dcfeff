"""Simulated MIG GPUs: what the driver does with GPU and compute instances, in memory, without hardware.

- `gpu.SimulatedGpu` is one GPU, made from a catalogue: it cuts, lists and destroys instances, switches MIG mode, and
  refuses what silicon refuses with the errors of `node_agent.gpu.device`.
- `driver.SimulatedDriver` is the driver of a node: several GPUs, privileges, versions, events, faults and latency.
- `devices.SimulatedDevices` offers a driver as the node agent's port; `simulator.nvml` offers it as libnvidia-ml.
- `spans`, `board`, `compute`, `mode`, `events`, `faults`, `capabilities` are their parts.

Measured on silicon is only what docs/hardware.md says; the rest follows NVIDIA's sources, manuals and listings.
"""
