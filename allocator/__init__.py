"""The pure core of migsched: what a GPU can hold, where a request fits, who owns what.

No I/O, clock, log, thread or framework lives here; results and reasons are return values. Reading order, low to high:

    errors      the one exception tree
    profile     Profile, Placement, Engines, resource names
    catalogue   Catalogue: the profiles of one GPU model; gpu_models holds the known ones
    geometry    Geometry: the states a GPU can be in, as a finite automaton with tables
    request     Request: what a pod asks for, by Kubernetes' effective-request rule
    policy      how a placement is scored, as tables over the automaton
    parts       what each part of a request costs on a GPU, and on several GPUs together
    fitting     exact joint placement of several slices on one node
    misfit      Misfit: why a request does not fit a node
    joint_losses    the same question for all nodes at once, kept as they change
    fleet       the vectorised view of all nodes' GPU states
    ledger      Claim and the one transition table of its life
    report      NodeReport: what an agent says of its node, checked
    held        the places that pods have, and how they compare
    homes       which nodes report which GPU
    inventory   the mutable whole: reports + ledger + fleet
    snapshot    an immutable view of that whole
    contract    what crosses the process border: placement annotation, MigNode status

Beside the scheduler's path, for planners and studies:

    preemption  which pods must go so that a request fits
    migration   one window freed by moving few slices
    demand      an estimate of what is asked for, for policies that weigh it
    snapshot_file   a snapshot as text that can be kept
    packing/    exact integer programs; the only user of OR-Tools
    planning/   how many GPUs a demand needs, and the proof
    capacity    what fits now, after a repack, with more nodes
    repack/     the cheapest moves that make room
"""
