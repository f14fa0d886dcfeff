"""Leader election: one of several replicas decides, the others stand by with warm caches (docs/adr/0023).

observed_lease  the lease, judged by when it was seen to change: pure
terms           which lease, and its times
elector         takes and renews the lease, and runs the work of the leader meanwhile
"""
