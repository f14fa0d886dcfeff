"""The harness that proves the product's claims: each module measures one of them and returns rows; `ranges` judges
them.

`migsched bench …` runs them; method and results are in benchmarks/README.md, bounds with their provenance in
benchmarks/ranges.toml. Timings are compared as ratios taken in one run, since machines drift.
"""
