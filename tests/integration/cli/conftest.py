"""The command line as the unit tests run it, for commands that take their time."""

from tests.unit.cli.conftest import migsched

__all__ = ["migsched"]
