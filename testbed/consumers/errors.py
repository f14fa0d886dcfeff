"""What can go wrong with consumers. Raised by this package."""

from allocator import errors


class ConsumerError(errors.MigschedError):
    """Triton or Dynamo cannot run here; the message says which of them, why, and what would help."""
