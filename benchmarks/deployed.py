"""Deployed: what benchmarks on a genuine API server install first, out of `deploy/`."""

from pathlib import Path

CRD = Path(__file__).parents[1] / "deploy" / "crd" / "mignodes.yaml"
