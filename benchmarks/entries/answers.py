"""The benchmark `answers` in words, and the sizes it is run with; what measures is `benchmarks.answers`."""

from benchmarks.benchmark import Benchmark, Progress, Rows


def _measure(quick: bool, progress: Progress) -> Rows:
    from benchmarks import answers

    return answers.measure(200, 2, progress) if quick else answers.measure(progress=progress)


ANSWERS = Benchmark(
    name="answers",
    title="Answers to people",
    question="How long do people wait for an explanation, and for whether many pods fit together?",
    method=(
        "In one process, without the API. Explanations of pods that fit nowhere, in a half-full cluster whose nodes "
        "have labels, taints and pods that use CPU, remedy not included. Two questions about pods of several slices "
        "on empty fleets, one of which fits exactly and one of which does not fit."
    ),
    measure=_measure,
    quick="200 nodes instead of 5,000, 2 pods instead of 20.",
    columns={
        "question": "what is asked",
        "nodes": "nodes of 8 GPUs",
        "p50_s": "seconds per question, median",
        "worst_s": "seconds per question, slowest",
        "right": "1 if the answer is the right one",
    },
)
