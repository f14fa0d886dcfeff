"""The genuine Kueue beside the local control plane, for tests of both queues together.

`build` makes it from its Go module, once, into the cache; `kueue_controller` runs it.
"""
