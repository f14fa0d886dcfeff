"""Writes what monitoring shows of the code; for `make monitoring`."""

from benchmarks.monitoring import dashboards, metrics_page

if __name__ == "__main__":
    metrics_page.main()
    dashboards.main()
