"""What stands in for hardware and clusters: anyone without a GPU can try all of it.

gpu/            simulated GPUs, as a driver engineer would accept them
nvml/           a libnvidia-ml over them, under the unmodified pynvml; not in the wheel
cluster/        API server, nodes, agents, kubelets and kube-scheduler's cycle
workloads/      manifests become the pods that their controllers would make
demo, picture   a whole cluster on one screen: `migsched demo`
"""
