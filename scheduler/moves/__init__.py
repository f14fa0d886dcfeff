"""Moves carried out: Repack objects watched, planned, and made true pod by pod (docs/repacking.md)."""
