"""Prometheus' own checkers, for tests of the rules, the dashboards and the metrics: `promtool` and `selectors`.

`build` makes both from the Go module of Prometheus, once, into the cache.
"""
