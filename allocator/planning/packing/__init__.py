"""Packing: the integer programs behind plans, capacity answers and repacks, and the one importer of OR-Tools.

`program` states and solves an integer program, `patterns` says what a GPU can still take, `covering` counts GPUs for
a demand, `relocation` moves pods. Never imported by the extender's path: an exact answer may take seconds.
"""
