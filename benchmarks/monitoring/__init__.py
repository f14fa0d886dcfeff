"""What monitoring shows of the code, written into files: docs/metrics.md and the dashboards of deploy/monitoring.

`python -m benchmarks.monitoring` (`make monitoring`) writes them; tests compare them.
"""
