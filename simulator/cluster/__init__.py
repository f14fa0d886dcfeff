"""A simulated cluster: API server, nodes, agents, kubelets and kube-scheduler's cycle.

api             the port that simulated components use; kube_api is it over a real API server
memory_cluster/ an API server in memory, with fault injection
nodes           what simulated nodes have, and the Node objects that say so
agent, agents   node agents that cut what annotations promise and report it
kubelet         pod phases
device_manager  the kubelet's side of the device plugin interface
kube_scheduler/ kube-scheduler's cycle, over the extender's real HTTP wire
embedded        a whole cluster in one process
local_cluster   simulated nodes on the genuine control plane: `migsched cluster`
"""
