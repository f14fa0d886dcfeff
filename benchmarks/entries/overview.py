"""The benchmark `overview` in words, and the sizes it is run with; what measures is `benchmarks.overview`."""

from benchmarks.benchmark import Benchmark, Progress, Rows


def _measure(quick: bool, progress: Progress) -> Rows:
    from benchmarks import overview

    return [overview.measure(200 if quick else 5_000, progress=progress)]


OVERVIEW = Benchmark(
    name="overview",
    title="The web page's overview",
    question="What does the page cost the service's event loop in a large cluster?",
    method=(
        "Nodes of eight GPUs with a slice each, in memory. Processor time of the first look at all of them, of a look "
        "that finds nothing, and of one that finds a node changed; the ratio is the first to the last. The service "
        "rests twenty times as long as a look took."
    ),
    measure=_measure,
    quick="200 nodes instead of 5,000.",
    columns={
        "nodes": "nodes of 8 GPUs",
        "slices": "slices of pods",
        "document_mib": "the whole document, MiB",
        "whole_s": "first look, seconds of processor time",
        "unchanged_ms": "look that finds nothing, ms",
        "change_ms": "look that finds one node changed, ms",
        "ratio": "first look ÷ look with a change",
    },
)
