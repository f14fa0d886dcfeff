"""The scheduling queue: pods that are held by a gate of ours until a place is promised to them.

Pure: no clock, no I/O. Each module imports only modules above it:

- `life`: the states of a queued pod, and the one table of what may follow what.
- `queued_pod`: what is kept of a pod while it is in the queue.
- `pod_queue`: all of them, and their order.
- `holding`: which node a pod gets, on the inventory's room and by Kubernetes' own rules.

How the scheduler service drives it is in `scheduler.queueing`; why it is so in docs/adr/0019.
"""
