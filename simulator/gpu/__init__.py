"""Simulated MIG GPUs: what the driver does with GPU and compute instances, in memory, without hardware.

`gpu.SimulatedGpu` is one GPU: made from a catalogue, it cuts, lists and destroys instances, and refuses what silicon
refuses with the errors of `node_agent.device`. `spans` numbers GPU instances the way the driver does.
"""
