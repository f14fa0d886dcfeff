"""Moves: a repack carried out, as far as it can be said without a cluster: states, budgets, who may be moved, and what
is to be done next. The edge is `scheduler.moves`.
"""
