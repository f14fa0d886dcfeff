"""What can go wrong while images are made. Raised by this package."""

from testbed import errors


class ImageError(errors.BuildError):
    """An image could not be made: a package is not to be had, differs from its lock, or the Containerfile is wrong."""
