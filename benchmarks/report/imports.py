"""The drawing of the imports in docs/architecture.md: which package imports which, as Mermaid.

`python -m benchmarks.report.imports` (`make drawings`) writes it between the marks of that page; a test compares it.
It stands beside `quoted`, the other generator of docs. The imports are read by grimp, as import-linter reads them.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import grimp

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "architecture.md"
PACKAGES = (
    *("allocator", "kubeclient", "config", "httpserver", "scheduler", "node_agent"),
    *("replay", "testbed", "simulator", "benchmarks", "cli"),
)
DIVIDED = ("allocator", "scheduler", "node_agent")  # packages whose inside is drawn as well
MARK = re.compile(r"(<!-- drawing: ([\w]+) -->\n).*?(<!-- end -->)", re.DOTALL)

Arrows = frozenset[tuple[str, str]]


def drawings(packages: Iterable[str] = PACKAGES, divided: Iterable[str] = DIVIDED) -> dict[str, str]:
    """The drawings by name: `packages` for the whole, and one for the inside of each divided package."""
    graph = grimp.build_graph(*packages, cache_dir=None)
    imports = [
        (importer, imported)
        for importer in graph.modules
        for imported in graph.find_modules_directly_imported_by(importer)
    ]
    drawn = {"packages": mermaid(arrows(imports, {module: module.split(".")[0] for module in graph.modules}))}
    for package in divided:
        members = {module: module.split(".")[1] for module in graph.modules if module.startswith(f"{package}.")}
        drawn[package] = mermaid(reduced(arrows(imports, members)))
    return drawn


def arrows(imports: Iterable[tuple[str, str]], members: Mapping[str, str]) -> Arrows:
    """The imports between modules as arrows between what these modules are members of."""
    between = {
        (members[importer], members[imported])
        for importer, imported in imports
        if importer in members and imported in members
    }
    return frozenset((tail, head) for tail, head in between if tail != head)


def reduced(all_arrows: Arrows) -> Arrows:
    """The arrows without those that follow from others: of a → b → c and a → c, the last one goes."""
    left = set(all_arrows)
    for arrow in sorted(all_arrows):
        left.discard(arrow)
        if arrow[1] not in _reachable(arrow[0], left):
            left.add(arrow)
    return frozenset(left)


def _reachable(start: str, between: Iterable[tuple[str, str]]) -> set[str]:
    heads: dict[str, list[str]] = {}
    for tail, head in between:
        heads.setdefault(tail, []).append(head)
    reached: set[str] = set()
    waiting = [start]
    while waiting:
        for head in heads.get(waiting.pop(), []):
            if head not in reached:
                reached.add(head)
                waiting.append(head)
    return reached


def mermaid(drawn: Arrows) -> str:
    """Arrows as a fenced Mermaid flowchart, sorted, so that equal imports give equal text."""
    lines = [f"    {tail} --> {head}" for tail, head in sorted(drawn)]
    return "\n".join(["```mermaid", "flowchart TD", *lines, "```"]) + "\n"


def page(text: str, drawn: Mapping[str, str]) -> str:
    """A page's text with each marked drawing replaced. A mark with an unknown name is a KeyError."""
    return MARK.sub(lambda mark: f"{mark[1]}{drawn[mark[2]]}{mark[3]}", text)


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8"), drawings()), encoding="utf-8")
