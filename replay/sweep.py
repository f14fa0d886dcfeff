"""Sweep: one simulation, which is one run per seed, and its answer.

Called by `migsched simulate`, POST /api/v1/simulate and the benchmarks through `run`.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import as_completed

from allocator import errors
from allocator.mig import geometry, gpu_models
from allocator.mig.catalogue import Catalogue
from allocator.placement import policy
from allocator.placement.policy import Policy
from replay import backends, engine, mix, report, trace
from replay.config import RunConfig
from replay.engine import Rules
from replay.generated import Generated
from replay.job import Workload
from replay.pool import GpuPool
from replay.tally import RunOutcome, Tally
from replay.types import SimulationAnswer

Progress = Callable[[float], None]  # gets the share that is done, 0…1


def run(config: RunConfig, progress: Progress | None = None) -> SimulationAnswer:
    """Simulate; the answer is made by `report.of_runs`.

    The same configuration gives the same answer, `decisions_per_s` aside. Raises InputError for a workload that
    cannot be read, naming row and column, or the field, and the fix.
    """
    catalogue = gpu_models.find(config.model)
    workload = _workload(config, catalogue)
    if config.moves and not workload.movable:
        raise errors.SettingsError(
            "moves", config.moves, f"no job of {config.trace} may be moved: give it a column movable with true in it"
        )
    offered = catalogue if config.whole_catalogue else catalogue.restricted(workload.profiles)
    by = _policy(config, offered)
    seeds = range(config.first_seed, config.first_seed + (config.seeds if workload.seeded else 1))
    outcomes = dict(_outcomes(config, workload, offered, by, seeds, progress))
    return report.of_runs(config, seeds, [outcomes[seed] for seed in seeds])


def _workload(config: RunConfig, catalogue: Catalogue) -> Workload:
    if config.trace is not None:
        return trace.survey(config.trace, catalogue)
    return Generated(
        shares=mix.shares(config.mix, catalogue),
        load=config.load,
        lifetime_s=config.lifetime_s,
        warmup=config.warmup,
        horizon=config.horizon,
        lifetime_error=config.lifetime_error,
    )


def _policy(config: RunConfig, offered: Catalogue) -> Policy:
    """The policy; with given weights it no longer follows the demand."""
    by = policy.find(config.policy)
    if not config.weights or by.weigh is None:
        return by
    for name in config.weights:
        offered.profile(name)
    return by.weigh(tuple(sorted(config.weights.items()))).fixed()


def _outcomes(
    config: RunConfig, workload: Workload, offered: Catalogue, by: Policy, seeds: range, progress: Progress | None
) -> Iterator[tuple[int, RunOutcome]]:
    """Seed and outcome of every run, as they end."""
    with backends.executor(config, len(seeds)) as executor:
        if executor is None:
            for done, seed in enumerate(seeds):
                yield seed, _run_seed(config, workload, offered, by, seed, _within(progress, done, len(seeds)))
            return
        running = {executor.submit(_run_seed, config, workload, offered, by, seed): seed for seed in seeds}
        for done, future in enumerate(as_completed(running), 1):
            yield running[future], future.result()
            if progress is not None:
                progress(done / len(seeds))


def _within(progress: Progress | None, done: int, runs: int) -> Progress | None:
    """The progress of one run among several."""
    if progress is None:
        return None
    return lambda share: progress((done + share) / runs)


def _run_seed(
    config: RunConfig, workload: Workload, offered: Catalogue, by: Policy, seed: int, progress: Progress | None = None
) -> RunOutcome:
    """One run."""
    compiled = geometry.compiled(offered)
    tally = Tally(compiled, config.gpus, workload.window_s)
    rules = Rules(
        config.discipline,
        config.moves,
        config.restart_s,
        patience_s=config.patience_s,
        reservations=config.reservations,
    )
    last = workload.last_arrival_s or 1.0
    show_time = None if progress is None else lambda now_s: progress(min(1.0, now_s / last))
    spent_s = engine.replay(
        workload.jobs(compiled, config.gpus, seed), GpuPool(compiled, config.gpus, by), rules, tally, show_time
    )
    if progress is not None:
        progress(1.0)
    return tally.outcome(spent_s)
