"""The scheduling queue: pods that are held by a gate of ours until a place is promised to them.

Pure: no clock, no I/O. Each module imports only modules above it:

- `gang`: pods that are placed together or not at all.
- `life`: the states of a queued pod, and the one table of what may follow what.
- `release`: the ways of letting a pod go to its place.
- `queued_pod`: what is kept of a pod while it is in the queue.
- `kept_places`: places that pods of gangs had, kept for whoever comes in their stead.
- `holding`: which node a pod gets, on the inventory's room and by Kubernetes' own rules.
- `spare_places`: places on further nodes, where it is not certain that the first takes the pod.
- `draining`: what it costs to wait for a place on a GPU, and what may go on beside it.
- `reservation`: the places that are kept for a unit that has waited long.
- `reservations`: those that stand, and whom they keep out.
- `pod_queue`: all queued pods, their order, and the reservations of those that wait.
- `fair_shares`: the other order, by what namespaces hold.
- `node_mixes`: how many pods of each kind GPUs take at once.
- `gang_search`: whether the pods of a gang fit together, and where: exact, within a budget.
- `gang_holding`: places for a gang, greedily, else by the search.

How the scheduler service drives it is in `scheduler.queueing`; why it is so in docs/adr/0019.
"""
