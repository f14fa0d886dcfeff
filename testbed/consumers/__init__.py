"""Real NVIDIA Triton and NVIDIA Dynamo as consumers of slices: fetched once, and run as pods or as plain processes.

No GPU and no registry is needed: both come from PyPI, Triton with a model of its Python backend, Dynamo with its own
stand-in for an engine (`dynamo.mocker`). What they show is the serving system's own behaviour around our slices:
readiness, routing, scaling and discovery; not the speed of a GPU.
"""
