"""Deployed: what benchmarks on a genuine API server install first, out of `deploy/`."""

from pathlib import Path

_CRDS = Path(__file__).parents[1] / "deploy" / "crd"
CRD = _CRDS / "mignodes.yaml"
REPACKS_CRD = _CRDS / "repacks.yaml"
