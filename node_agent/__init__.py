"""The node agent: cuts the slices that pods on its node were promised, hands them to the kubelet, takes them back.

One process per GPU node. Each part imports only parts below it; a contract in pyproject.toml checks it:

    service      wires all of it; `run` is what `migsched agent` calls
    loop         makes a step on every change, and judges what surrounds the agent
    kubelet/     device plugins, PodResources, and the answers behind them; `reporter`: what Kubernetes is told
    allocation   one attempt to answer the kubelet; `reconciler`: observe, plan, actuate, report: one step
    containers/  what a container is given; `mig_mode`: switches MIG mode on; `report`: the MigNode status
    state        what is known at the moment, and the locks over it
    slices/      a slice's life: states, journal, observation, ownership, steps, executor
    cluster/     the port to Kubernetes and what is read from it; `gpu/`: the port to the GPUs, `gpu.nvml` the driver
    metrics, serving, process_tuning, step_signal    what all of these lean on; `settings`: what `service` is given

How they work together is in docs/node-agent.md, "Theory of operation".
"""

import os

# Before any module imports grpc, which reads it then: its core would log every restart of the kubelet past our log.
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
