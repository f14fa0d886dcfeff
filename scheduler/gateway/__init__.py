"""The gateway: a process of its own between the capacity API and its clients (docs/adr/0015).

Reading order:

    limits    what clients may take
    origin    which hosts and pages may ask
    guard     those rules, the lock, and the bounds of calls, before any application
    locking   the lock (scheduler/lock) and TLS, made from what the settings say
    cache     answers about the cluster, made at most once a second
    proxy     calls passed on to the service
    worker    the program that the gateway's process runs
    process   that process, seen from the service
"""
