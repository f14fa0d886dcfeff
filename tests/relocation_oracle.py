"""Slow and obvious answers about repacks: Dijkstra over every position of every pod, and the instances to try it on."""

import heapq
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace

from allocator import errors
from allocator.eligibility.amounts import Amounts
from allocator.mig import geometry, gpu_models
from allocator.mig.geometry import Geometry
from allocator.mig.profile import Placement
from allocator.planning.packing.relocation import Bin, Budget, MovableJob, Place, Places, RelocationProblem

_Positions = tuple[Places, ...]


def cheapest(asked: RelocationProblem, max_moves: int) -> int | None:
    """The least cost of any legal sequence of at most so many restarts that answers the question; None if none does."""
    options = [_everywhere(asked, job) for job in asked.jobs]
    spots = [_everywhere(asked, request) for request in asked.requests]
    start = tuple(tuple(sorted(job.home)) for job in asked.jobs)
    waiting = [(0, 0, (0,) * len(asked.budgets), start)]
    seen = set()
    while waiting:
        cost, moves, used, at = heapq.heappop(waiting)
        if (moves, used, at) in seen:
            continue
        seen.add((moves, used, at))
        if answers(asked, at, spots):
            return cost
        for job, there in enumerate(at if moves < max_moves else ()):
            after = tuple(u + b.weights.get(job, 0) for u, b in zip(used, asked.budgets, strict=True))
            if any(u > b.limit for u, b in zip(after, asked.budgets, strict=True)):
                continue
            for target in options[job]:
                moved = (*at[:job], target, *at[job + 1 :])
                if target != there and legal(asked, moved) and nodes_suffice(asked, moved):
                    heapq.heappush(waiting, (cost + asked.jobs[job].cost, moves + 1, after, moved))
    return None


def answers(asked: RelocationProblem, at: Sequence[Places], spots: Sequence[Sequence[Places]] = ()) -> bool:
    """Whether all requests fit beside the pods at these positions, and enough GPUs are then empty.

    `spots` are all places of each request, where somebody knows them already.
    """
    anywhere = spots or [_everywhere(asked, request) for request in asked.requests]

    def place(number: int, placed: tuple[Places, ...]) -> bool:
        if number == len(asked.requests):
            used = {where for places in (*at, *placed) for where, _ in places}
            empty = {w for w, gpu in enumerate(asked.bins) if not gpu.fixed and w not in used}
            return len(empty) >= asked.empty and asked.emptied <= empty
        return any(
            legal(asked, (*at, *placed, places))
            and nodes_suffice(asked, at, (*placed, places))
            and place(number + 1, (*placed, places))
            for places in anywhere[number]
        )

    return place(0, ())


def legal(asked: RelocationProblem, at: Sequence[Places]) -> bool:
    """Whether all these slices can exist together."""
    there = [list(gpu.fixed) for gpu in asked.bins]
    for places in at:
        for where, placement in places:
            there[where].append(placement)
    try:
        for gpu, slices in zip(asked.bins, there, strict=True):
            gpu.geometry.state_of(slices)
    except errors.GeometryError:
        return False
    return True


def nodes_suffice(asked: RelocationProblem, at: Sequence[Places], placed: Sequence[Places] = ()) -> bool:
    """Whether every node has the CPU and memory for the pods at these positions, and for the first requests."""
    left = {node: list(spare.each) for node, spare in asked.spare.items()}
    came = [*zip(asked.jobs, at, strict=False), *zip(asked.requests, placed, strict=False)]
    for pods, sign in ((((job, job.home) for job, _ in came if job.home), 1), (came, -1)):
        for job, places in pods:
            node = asked.bins[places[0][0]].node
            if node in left:
                left[node] = [have + sign * each for have, each in zip(left[node], job.asked.each, strict=True)]
    return all(
        have >= 0 or have >= before  # a node that has too little already takes pods that ask for nothing of it
        for node, of_node in left.items()
        for have, before in zip(of_node, asked.spare[node].each, strict=True)
    )


def _everywhere(asked: RelocationProblem, job: MovableJob) -> list[Places]:
    """Every way to place a pod on one node, legal or not; on one where it may not run, only as it is."""
    found = {tuple(sorted(job.home))} if job.home else set()
    for node in {gpu.node for gpu in asked.bins}:
        if job.nodes is not None and node not in job.nodes:
            continue
        here = [where for where, gpu in enumerate(asked.bins) if gpu.node == node]
        found |= set(_ways(asked, here, job.profiles))
    return sorted(found)


def _ways(asked: RelocationProblem, bins: Sequence[int], profiles: Sequence[str]) -> Iterator[Places]:
    if not profiles:
        yield ()
        return
    for rest in _ways(asked, bins, profiles[1:]):
        for where in bins:
            kind = asked.bins[where].geometry
            for index in kind.placements_of(profiles[0]) if profiles[0] in kind.profile_index else ():
                one = (where, kind.placements[index])
                if all(where != w or not one[1].overlaps(p) for w, p in rest):
                    yield tuple(sorted((one, *rest)))


def instance(family: str, seed: int) -> tuple[RelocationProblem, int]:
    """A small question and its budget of moves. Families: `scattered`, `scrambled` (solvable), `tight` (blocking)."""
    draw = random.Random(f"{family} {seed}")
    return {"scattered": _scattered, "scrambled": _scrambled, "tight": _tight}[family](draw)


def limited(family: str, seed: int) -> tuple[RelocationProblem, int]:
    """As `instance`, with a GPU or two on each node, pods that may not run everywhere, and nodes that may fill up."""
    asked, moves = instance(family, seed)
    draw = random.Random(f"limited {family} {seed}")
    wide = draw.choice([1, 2]) if all(len(job.profiles) == 1 for job in asked.jobs) else 2
    bins = tuple(replace(gpu, node=where // wide) for where, gpu in enumerate(asked.bins))
    nodes = sorted({gpu.node for gpu in bins})

    def wishing(job: MovableJob) -> MovableJob:
        some = frozenset(node for node in nodes if draw.random() < 0.7)
        memory = draw.choice([0, 1, 2]) * (1 << 30) + draw.choice([0, 0, 12_345])
        return replace(
            job, nodes=some if draw.random() < 0.4 else None, asked=Amounts(draw.randint(0, 3), memory, 0, 1)
        )

    spare = {
        node: Amounts(draw.randint(0, 5), draw.randint(0, 4) << 30, 0, draw.randint(0, 3))
        for node in nodes
        if draw.random() < 0.7
    }
    jobs, requests = tuple(map(wishing, asked.jobs)), tuple(map(wishing, asked.requests))
    return replace(asked, bins=bins, jobs=jobs, requests=requests, spare=spare), moves


def _kind(draw: random.Random, *models: str) -> Geometry:
    few = {
        "rtx-pro-6000-blackwell-96gb": ("1g.24gb", "1g.24gb+me.all", "2g.48gb", "1g.24gb-me", "4g.96gb"),
        "a100-40gb": ("1g.5gb", "1g.10gb", "2g.10gb", "3g.20gb", "4g.20gb"),
    }
    catalogue = gpu_models.find(draw.choice(models))
    return geometry.compiled(catalogue.restricted(frozenset(few.get(catalogue.model, catalogue.by_name))))


def _filled(draw: random.Random, kind: Geometry, stop: float) -> list[Placement]:
    """Random slices until none fits, or chance says enough."""
    state, placed = kind.EMPTY, []
    while draw.random() >= stop:
        legal_now = [i for i, after in enumerate(kind.step[state]) if after >= 0 and kind.placements[i].size < 5]
        if not legal_now:
            break
        index = draw.choice(legal_now)
        state = int(kind.step[state, index])
        placed.append(kind.placements[index])
    return placed


def _job(kind: Geometry, *places: Place) -> MovableJob:
    profiles = tuple(p.profile for _, p in places)
    return MovableJob(profiles, places, 1 + sum(kind.catalogue.profile(name).compute_slices for name in profiles))


def _scattered(draw: random.Random) -> tuple[RelocationProblem, int]:
    """Half-full GPUs, some pods with two slices on a node, some that stay, budgets; asks anything."""
    kind = _kind(draw, "a30-24gb", "a30-24gb", "a100-40gb", "rtx-pro-6000-blackwell-96gb")
    density = draw.choice([0.5, 0.65, 0.8, 0.9])
    number = draw.randint(1, 2 if kind.catalogue.model == "a100-40gb" else 4)
    bins: list[Bin] = []
    movable: list[Place] = []
    for where in range(number):
        there = [one for one in _filled(draw, kind, 0.1) if draw.random() < density]
        stays = [one for one in there if draw.random() < 0.1 or len(movable) >= 5]
        movable += [(where, one) for one in there if one not in stays][: 5 - len(movable)]
        bins.append(Bin(kind, tuple(stays), where // 2))
    jobs = []
    while movable:
        one = movable.pop()
        mates = [other for other in movable if bins[other[0]].node == bins[one[0]].node]
        if mates and draw.random() < 0.3:
            mate = draw.choice(mates)
            movable.remove(mate)
            jobs.append(_job(kind, one, mate))
        else:
            jobs.append(_job(kind, one))
    large = [p.name for p in kind.catalogue.profiles if p.memory_slices > 1]
    requests = [
        MovableJob(tuple(draw.choice(large) for _ in range(draw.choice([1, 1, 1, 2]))))
        for _ in range(draw.choice([0, 1, 1, 2]))
    ]
    empty = draw.randint(1, max(1, number // 2)) if not requests or draw.random() < 0.2 else 0
    moves = draw.randint(1, 3)
    budgets = [Budget(moves, dict.fromkeys(range(len(jobs)), 1))]
    if draw.random() < 0.3:
        budgets.append(Budget(draw.randint(0, 1), {job: 1 for job in range(len(jobs)) if draw.random() < 0.5}))
    return RelocationProblem(tuple(bins), tuple(jobs), tuple(requests), empty, frozenset(), tuple(budgets)), moves


def _scrambled(draw: random.Random) -> tuple[RelocationProblem, int]:
    """A fleet that once held the request, its pods moved about since: mostly solvable, mostly not at once."""
    kind = _kind(draw, "a30-24gb", "a100-40gb", "rtx-pro-6000-blackwell-96gb")
    number = 2 if kind.catalogue.model == "a100-40gb" else draw.randint(2, 4)
    placed = [(where, one) for where in range(number) for one in _filled(draw, kind, 0.0)]
    placed.sort(key=lambda place: -place[1].size + 2 * draw.random())
    wanted, *others = placed
    moving = others[: draw.randint(3, 6)]
    stays = others[len(moving) + draw.choice([0, 0, 0, 1]) :]
    bins = tuple(Bin(kind, tuple(p for w, p in stays if w == where), 0) for where in range(number))
    for _ in range(draw.randint(10, 60)):
        at = draw.randrange(len(moving))
        index = draw.choice(kind.placements_of(moving[at][1].profile))
        after = [*moving[:at], (draw.randrange(number), kind.placements[index]), *moving[at + 1 :]]
        if legal(RelocationProblem(bins, ()), [(place,) for place in after]):
            moving = after
    moves = draw.randint(2, 4)
    jobs = tuple(_job(kind, place) for place in moving)
    budget = Budget(moves, dict.fromkeys(range(len(jobs)), 1))
    return RelocationProblem(bins, jobs, (MovableJob((wanted[1].profile,)),), 0, frozenset(), (budget,)), moves


def _tight(draw: random.Random) -> tuple[RelocationProblem, int]:
    """A full GPU, and one to park on that must be empty in the end: pods block each other, often for good."""
    while True:
        kind = _kind(draw, "a100-40gb", "a100-40gb", "a30-24gb")
        stays: list[Placement] = []
        jobs: list[MovableJob] = []
        for one in _filled(draw, kind, 0.02):
            if draw.random() < 0.5 or len(jobs) >= 3:
                stays.append(one)
            else:
                jobs.append(_job(kind, (0, one)))
        moves = draw.randint(2, 3)
        request = MovableJob((draw.choice(kind.profiles),))
        budget = Budget(moves, dict.fromkeys(range(len(jobs)), 1))
        bins = (Bin(kind, tuple(stays), 0), Bin(kind, (), 0))
        asked = RelocationProblem(bins, tuple(jobs), (request,), 0, frozenset([1]), (budget,))
        there = [one.size for one in stays] + [place[1].size for job in jobs for place in job.home]
        free = kind.catalogue.memory_slices - sum(there)
        fits_by_size = kind.catalogue.profile(request.profiles[0]).memory_slices <= free
        if jobs and fits_by_size and not answers(asked, [job.home for job in jobs]):
            return asked, moves
