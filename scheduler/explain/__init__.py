"""Why a pod is pending, or where it lies, in plain words and stable codes. Called by the API; the command line and the
demo print it. Reading order:

    codes        the codes, each with its meaning
    eligible     which nodes may run a pod at all, its slices aside
    node_counts  the nodes by what they say to a pod's request
    kept_room    the nodes whose room is kept for others
    standing     what is known of a pod without looking at any node
    explanation  one pod's whole explanation, and those of all pods
    pending      the pods that wait, the oldest first, grouped
    lookup       which pod is meant, and what is said of one that is not a MIG pod or is over
"""

from scheduler.explain.explanation import every, explain, explain_in_steps

__all__ = ["every", "explain", "explain_in_steps"]
