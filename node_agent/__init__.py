"""The node agent: cuts the slices that pods on its node were promised, hands them to the kubelet, takes them back.

One process per GPU node. Reading order:

    device       the port to the GPUs; `nvml` is the driver behind it, simulator.gpu the other one
    slices       a slice's life as the agent sees it: one transition table
    journal      what the agent must not forget, written before every mutation; `journal_file`: on disk
    naming       device ids: stable names of placements
    cluster      the port to Kubernetes; the objects that cross it are in `edge`; `kube` is the real one
    pods         from a pod object to what it asks and was promised
    node_view    what was observed of the GPUs
    plan         from observed and wanted to ordered steps; pure
    ownership    when a slice may be taken back; pure
    steering     which devices the kubelet should pick; pure
    cutter       carries steps out, each journalled first
    memory       what is known at the moment; `turns`: who may change what of it
    sharing      which slices a container of several profiles sees; pure
    cdi          specifications that tell the container runtime what a device id means
    agent        observe, plan, actuate, report: one step; and Allocate
    reporting    the MigNode status and what it says of the node
    mode         which GPUs may be put into MIG mode; `mode_switch` does it
    coexistence  who else manages this node's GPUs; `labels` keeps NVIDIA's components off the node
    kubelet      device plugins and PodResources over gRPC
    metrics      the collectors, in one table; `metered` counts driver calls
    serving      probes and metrics over HTTP
    footprint    memory and threads, so that little is taken from the node's workloads
    service      wires all of it; `run` is what `migsched agent` calls
"""

import os

# Before anybody imports grpc, which reads it then: its core would tell of every kubelet's restart past our log.
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
