"""The node agent: cuts the slices that pods on its node were promised, hands them to the kubelet, takes them back.

One process per GPU node. Each package imports only packages below it:

    service      wires all of it; `run` is what `migsched agent` calls
    kubelet/     device plugins and PodResources over gRPC
    allocation   the kubelet's questions about devices; `inform`: pods in, reports out
    agent        observe, plan, actuate, report: one step
    containers/  what a container is given: CDI specifications and the slices that it sees
    memory       what is known at the moment; `reporting`: the MigNode status
    slices/      a slice's life: states, journal, plan, ownership
    cluster/     the port to Kubernetes, and what is read from it
    gpu/         the port to the GPUs; `gpu.nvml` is the driver behind it, simulator.gpu the other one
    settings, metrics, serving, footprint, mode    what all of these lean on
"""

import os

# Before anybody imports grpc, which reads it then: its core would tell of every kubelet's restart past our log.
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
