"""What `scheduler.explain` says of each pod, over a cache that is made of what was read. Fed by `reader`.

The cache is the service's own, filled as `scheduler.explain.saved_cluster` fills it: no second opinion. What other pods
use of nodes is not known to it, and its explanations say so.
"""

from dataclasses import replace
from typing import Any

from allocator import errors
from allocator.claims.bound_pod import BoundPod
from allocator.claims.report import NodeReport
from allocator.placement import policy
from allocator.request import Request
from cli.diagnosis.picture import PicturedPod
from kubeclient.objects import Pod
from scheduler import explain
from scheduler.cache import known_pod, node_facts, pods
from scheduler.cache.cluster_cache import ClusterCache
from scheduler.cache.port import WatchedNode
from scheduler.explain import lookup, standing


class Standings:
    """A cache that is asked once. Nodes and reports are to come before pods."""

    def __init__(self) -> None:
        self._state = ClusterCache(policy.DEFAULT, lambda: None)

    def queueing(self, *, on: bool) -> None:
        """Whether a service places queued pods."""
        self._state.queueing = on

    def see_node(self, node: WatchedNode) -> None:
        """A Node is there."""
        facts = node_facts.of(node)
        self._state.inventory.nodes.add(facts.name)
        self._state.nodes[facts.name] = facts

    def see_report(self, report: NodeReport, created: str) -> None:
        """A MigNode says this."""
        self._state.inventory.observe(report, created)

    def settle(self) -> None:
        """All reports are in: decide who has a GPU that several report."""
        self._state.inventory.settle_reporters()

    def see_pod(self, pod: Pod) -> None:
        """A pod that asks for slices, or has to do with nothing of ours."""
        if pod.is_over or not (pods.is_ours(pod) or pods.is_at_our_gate(pod)):
            return
        known = known_pod.read(pod)
        if pod.spec.node_name:
            known = replace(known, not_adopted=self._adopt(pod, known.request or Request()))
        self._state.pods[known.uid] = known

    def _adopt(self, pod: Pod, asked: Request) -> str:
        """Take a bound pod over as its annotation says; why that cannot be, empty if it can."""
        meta = pod.metadata
        try:
            promises = pods.promises_of(pod)[: len(asked.slots) + 1]
        except errors.ContractError as error:
            return str(error)[: known_pod.MAX_PROBLEM]
        bound = BoundPod(meta.uid, meta.namespace, meta.name, pod.spec.node_name, asked, promises)
        refusal = self._state.inventory.adopt(bound)
        return "" if refusal is None else refusal.message[: known_pod.MAX_PROBLEM]

    def of(self, pod: PicturedPod) -> PicturedPod:
        """A pod with what is said of it."""
        known = self._state.pods.get(pod.uid)
        if known is None:
            return pod
        said = standing.of(self._state, known)
        code, reason = ("", "") if said is None else (said.code.value, said.reason)
        return replace(pod, owner=known.service, code=code, reason=reason)

    def explain(self, name: str) -> dict[str, Any]:
        """The explanation of a pod, as the API gives it; empty if it is not a pod that asks for slices."""
        matches = lookup.find(self._state, name)
        return explain.explain(self._state, matches[0]) if len(matches) == 1 else {}
