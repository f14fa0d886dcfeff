"""NVML: the node agent's device port on real GPUs, and the only place that imports pynvml.

- `devices.NvmlDevices` is the port; `driver` is pynvml with plain values in and out; `failures` translates errors.
- `lane` runs driver calls in a thread per GPU, each with a deadline; `catalogue`, `inventory`, `cutting`, `watching`
  and `capabilities` are what the port does there.
- `python -m node_agent.gpu.nvml` prints what the driver says about every GPU, changing nothing.

The traps of pynvml and the driver that are handled here are listed in docs/hardware.md.
"""
