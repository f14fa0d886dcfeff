"""Helm, built from its Go module, for tests of deploy/chart."""
