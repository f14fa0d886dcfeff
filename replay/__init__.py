"""Replay: workloads against policies on simulated GPUs, by discrete events; what `migsched simulate` runs.

    types       SimulationDocument and SimulationAnswer
    config      RunConfig: what can be asked for, checked
    sweep       run: one simulation, a run per seed, here or on a backend
    report      the answer, with 95 % intervals
    job         Job, and Workload: where jobs come from
    generated   synthetic workloads; mix says which profiles they ask for
    trace       recorded workloads, from CSV
    engine      one run, event by event
    pool        the GPUs, and the policy's choice among them
    waiting     the queue of the discipline `queue`
    tally       what is counted; series for the shares over time
    backends    local processes, or a Dask cluster

A replay has no clock of its own and no kubelet, agent or driver: slices are cut and destroyed at once. What it shares
with the scheduler is the geometry, the policies and the bounded migration of `allocator`.
"""

from replay.config import Backend, RunConfig
from replay.sweep import run
from replay.types import Discipline

__all__ = ["Backend", "Discipline", "RunConfig", "run"]
