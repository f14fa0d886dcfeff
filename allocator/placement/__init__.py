"""Where a request fits: how a placement is scored, exact joint placement on one node, the fast view of all nodes."""
