"""QueueRelease: how a queued pod that has a place is let go to it. Read by the settings and by the releaser."""

import enum


class QueueRelease(enum.StrEnum):
    """What tells the pod's scheduler the node. The place is claimed before, in each of them.

    After `NOMINATE` the scheduler may choose another node, after `EXTENDER` a scheduler that does not ask our extender
    may; then the pod's real node counts, and the place is given back.
    """

    PIN = "pin"  # its required node affinity, which cannot be loosened again
    NOMINATE = "nominate"  # its status.nominatedNodeName, which the scheduler tries first
    EXTENDER = "extender"  # nothing in the pod: its scheduler asks our extender, which offers that node only
