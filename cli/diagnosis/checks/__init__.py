"""Checks: pure functions from a picture of the cluster to what is wrong with it, by what they are about.

Each module has its `CHECKS`; `cli.diagnosis.registry` runs them.
"""
