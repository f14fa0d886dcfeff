"""Progress: what hears, a line at a time, what is fetched and built. Passed down by all that build programs."""

from collections.abc import Callable

Progress = Callable[[str], None]
