"""A simulated cluster: API server, nodes, agents, kubelets and kube-scheduler's cycle.

api             the port that simulated components use; kube_api is it over a real API server
memory_cluster/ an API server in memory, with fault injection
nodes           what simulated nodes have, and the Node objects that say so
node_agents     the real node agents of a small fleet, each on a node_machine
agents          stand-ins for those of a large one, each a fake_agent
kubelet         admission and pods' phases
node_kubelet    one node's kubelet towards its device plugins: what it gives to which pod, by pod_devices
device_manager  the kubelet's side of the device plugin interface
kube_scheduler/ kube-scheduler's cycle, over the extender's real HTTP wire
embedded        a whole cluster in one process
queue_policy    whether the API server gates new pods by now
local_cluster   simulated nodes on the genuine control plane: `migsched cluster`
"""
