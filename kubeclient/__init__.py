"""The client of an API server: connection, list + watch, and the partial objects that both services read.

The scheduler service and the node agent may not import each other; what they would otherwise write twice is here.
Nothing here knows what either of them is for.
"""
