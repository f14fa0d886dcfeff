"""Builds the product's container images: a Debian root file system, locked wheels, and an OCI archive of both.

Called by `make image` and by the tests that run the images. It needs neither Docker nor root (docs/adr/0027).
"""
