"""Eligibility: where a pod may run by Kubernetes' own rules, whatever the GPUs there hold (docs/eligibility.md)."""
