"""The scheduler service: kube-scheduler's extender, its cache of the cluster, and the capacity API.

One process, one event loop, no locks: the inventory is touched from the loop alone, so every step between two
awaits is atomic. Each package imports only packages below it:

    service     wires all of it; `run` is what `migsched scheduler` calls
    api/        the API's HTTP routes
    extender/   filter, prioritize, bind and preempt
    planner/    long questions, answered by processes of their own
    snapshots, explain    the cluster as a snapshot file; why a pod waits
    cache/      what is known of the cluster
    settings, metrics, body, pace, kube_scheduler_config    what all of these lean on
"""
