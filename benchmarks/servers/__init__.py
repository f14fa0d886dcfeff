"""The processes that benchmarks start. Not in the wheel."""
