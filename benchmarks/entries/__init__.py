"""One file per benchmark: the words that explain it in a report, and the call that measures it.

The words stand apart from the code that measures, so that benchmarks are listed without loading it.
"""
