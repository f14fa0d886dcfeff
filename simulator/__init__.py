"""What stands in for hardware and clusters, shipped with the product: anyone without a GPU can try all of it.

Hardware:
    gpu/            simulated GPUs, as a driver engineer would accept them
    nvml/           a libnvidia-ml over them, under the unmodified pynvml

Clusters:
    api             the port that simulated components use; kube_api is it over a real API server
    memory_cluster/ an API server in memory, with fault injection
    control_plane/  the genuine etcd and Kubernetes, built from Go modules, started and stopped
    real_node/      a genuine kubelet with containerd and runc, joined to that control plane

Components of a simulated cluster:
    nodes           what simulated nodes have, and the Node objects that say so
    agent, agents   node agents that cut what annotations promise and report it
    kubelet         pod phases
    kube_scheduler/ kube-scheduler's cycle, over the extender's real HTTP wire
    workloads/      manifests become the pods that their controllers would make

Put together:
    embedded        a whole cluster in one process; demo shows it
    local_cluster   simulated nodes on the genuine control plane: `migsched cluster`
    replay/         workloads against placement policies, by discrete events: `migsched simulate`
"""
