"""A stand-in for kube-scheduler's cycle, which calls the extender over HTTP exactly as kube-scheduler does.

- `scheduler.KubeScheduler` follows nodes and pods and runs the cycle: filter, prioritize, assume, bind.
- `queue.SchedulingQueue` says which pod is next, and wakes refused ones when something changed.
- `in_tree` is what kube-scheduler judges by itself: resources, taints, affinity.
- `fit_error` words why a pod fits nowhere, as the pod's condition shows it.
- `extender_client` speaks the extender's wire format.

It has no preemption, volumes, topology spreading or inter-pod affinity; the genuine one runs in
`simulator.cluster.local_cluster`.
"""
