"""The scheduling queue at work: places for gated pods, their release to kube-scheduler, and those that come back.

Modules import only modules in lines below theirs:

    cycle       who gets a place now, in order
    returns     released pods that kube-scheduler refuses
    releaser    one pod's release to a definite end
    pinning     the affinity that holds a pod to its node      node_rules   where a pod may run

Off unless `queue` is set; docs/queue.md, docs/adr/0019.
"""
