"""The scheduler service: kube-scheduler's extender, its cache of the cluster, and the capacity API.

One process, one event loop, no locks: the inventory is touched from the loop alone, so every step between two
awaits is atomic. Reading order:

    settings    what can be set, from where
    cluster     the port to Kubernetes; the objects that cross it are in `edge`
    kube        that port on the real API server (simulator.memory_cluster is the other one)
    wire        kube-scheduler's extender JSON
    pods        from a pod object to the core's words
    state       the cache: inventory + what is known of pods; fed by reflector
    reflector   keeps one kind of the cluster in the state
    extender    filter, prioritize, bind, preempt in domain words
    courtship   pods on their way to a node, their Binding not here yet
    preemptor   whom to evict so that a pod fits
    binder      one Binding carried to a definite end
    demand      what pods ask for, for policies that follow it
    waker       tells kube-scheduler that room arose
    metrics     the collectors, in one table
    http_protocol  uvicorn's, with one write per answer
    app         the extender's HTTP routes
    pace        long answers in small steps; body: a request's body within bounds
    budgets     PodDisruptionBudgets: which pods each covers, what it still allows
    snapshots   the cluster as a snapshot file
    planner     long questions, answered by processes of their own
    api         the API's HTTP routes
    service     wires all of it; `run` is what `migsched scheduler` calls
"""
