"""The pure core of migsched: what a GPU can hold, where a request fits, who owns what.

No I/O, clock, log, thread or framework lives here; results and reasons are return values. Each package imports only
packages below it:

    queueing/   the scheduling queue: states, order, gangs, a place for each pod
    planning/   what to buy, move and evict; planning.packing is the only user of OR-Tools
    claims/     who owns what: reports, ledger and inventory, and what crosses the process border
    placement/  where a request fits, and how good each place is     eligibility/  where a pod may run, slices aside
    request     what a pod asks for, by Kubernetes' effective-request rule
    mig/        what a GPU can hold: profiles, catalogues, geometry
    errors      the one exception tree
"""
