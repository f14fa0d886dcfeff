"""The scheduler service: kube-scheduler's extender, its cache of the cluster, and the capacity API.

One process, one event loop, no locks: the inventory is touched from the loop alone, so every step between two
awaits is atomic. Modules import only modules in lines below theirs; pyproject.toml has the contract, `make imports`
checks it:

    service     wires all of it; `run` is what `migsched scheduler` calls
    listen      its sockets
    settings    what can be set
    api/        the API's HTTP routes
    queueing/   places for pods that wait at our gate, and their release
    extender/   filter, prioritize, bind and preempt        planner/   long questions, answered by other processes
    snapshots   the cluster as a snapshot file              explain    why a pod waits
    cache/      what is known of the cluster
    body, certificate, cooperative, fair_queue, metrics, kube_scheduler_config    what all of these lean on
"""
