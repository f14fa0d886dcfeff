"""The scheduling queue at work: places for gated pods, their release to kube-scheduler, and those that come back.

Modules import only modules in lines below theirs:

    cycle         who gets a place now, in order
    announcements what people are told    waits, depth   what is measured
    turns         the order in which they are looked at
    reservations  who has waited so long that room is kept for it
    gang_victims  whose going makes room for a gang
    gang_placer   places for gangs, all or none                gang_sizes     what their objects say
    returns       released pods that kube-scheduler refuses
    releaser      one pod's release to a definite end
    options       how the queue works    token_bucket   how fast it may do what others have to bear
    pinning       the affinity that holds a pod to its node      node_rules   where a pod may run

Off unless `queue` is set; docs/queue.md, docs/adr/0019.
"""
