"""PodSelector: which other pods a rule of a pod is about, by their namespace and labels.

Answers are True, False, or None where they cannot be told: a selector without meaning, labels that are not kept, or
namespaces chosen by labels that only a Namespace has.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from allocator.eligibility import node_selector
from allocator.eligibility.node_selector import NodeSelectorRequirement

NAMESPACE_NAME = "kubernetes.io/metadata.name"  # the label that every namespace has, its value the name
_OPERATORS = frozenset({"In", "NotIn", "Exists", "DoesNotExist"})

Labels = str  # keys and values in turn, with END between; so packed since every pod of a cluster has some
END = "\0"  # neither a key nor a value can have it


def packed(labels: Mapping[str, str]) -> Labels:
    """Labels in few bytes."""
    return END.join(part for label in labels.items() for part in label)


def unpacked(labels: Labels | None) -> dict[str, str] | None:
    """Values by key; None where they are not known."""
    if labels is None:
        return None
    parts = labels.split(END)
    return dict(zip(parts[::2], parts[1::2], strict=False))


@dataclass(frozen=True, slots=True)
class LabelSelector:
    """Requirements on labels, all of which must hold; without any, everything matches."""

    requirements: tuple[NodeSelectorRequirement, ...] = ()

    def matches(self, labels: Mapping[str, str] | None) -> bool | None:
        """Whether labels do; None if that cannot be told."""
        answer: bool | None = True
        for requirement in self.requirements:
            known = requirement.operator in _OPERATORS
            holds = node_selector.holds(requirement, labels) if known else None
            if holds is False:
                return False
            answer = answer if holds else None
        return answer


@dataclass(frozen=True, slots=True)
class PodSelector:
    """Pods of these namespaces, or of those that `namespaces_by_label` selects, whose labels match.

    Without `labels` no pod does, as a label selector that is not given selects nothing.
    """

    namespaces: tuple[str, ...]
    labels: LabelSelector | None
    namespaces_by_label: LabelSelector | None = None

    @property
    def is_of_few(self) -> bool:
        """Whether it looks at pods of the namespaces alone that it names."""
        return self.namespaces_by_label is None

    def matches(self, namespace: str, labels: Mapping[str, str] | None) -> bool | None:
        """Whether a pod is meant; None if that cannot be told."""
        if self.labels is None:
            return False
        there = self.covers(namespace)
        if there is False:
            return False
        meant = self.labels.matches(labels)
        return meant if there or meant is False else None

    def covers(self, namespace: str) -> bool | None:
        """Whether it looks at pods of a namespace; None if that cannot be told."""
        if namespace in self.namespaces:
            return True
        selector = self.namespaces_by_label
        if selector is None:
            return False
        by_name = tuple(wish for wish in selector.requirements if wish.key == NAMESPACE_NAME)
        named = LabelSelector(by_name).matches({NAMESPACE_NAME: namespace})
        return named if named is False or len(by_name) == len(selector.requirements) else None
