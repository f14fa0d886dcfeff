"""The images that bundle and catalogue name, each by a digest."""

import re
from dataclasses import dataclass

from testbed import errors

PLACEHOLDER = "sha256:" + "0" * 64  # of an image that is not published
REGISTRY = "registry.example.com"
_BY_DIGEST = re.compile(r"[\w.-]+(:\d+)?(/[\w.-]+)+@sha256:[0-9a-f]{64}")


def _unpublished(part: str) -> str:
    return f"{REGISTRY}/migsched-{part}@{PLACEHOLDER}"


@dataclass(frozen=True, slots=True)
class OlmImages:
    """References such as `registry.example.com/migsched-agent@sha256:…`, one field for each image.

    Raises CommandError where one has no digest: a tag may mean another image tomorrow, and mirrors go by digests.
    """

    scheduler: str = _unpublished("scheduler")
    agent: str = _unpublished("agent")
    cli: str = _unpublished("cli")
    bundle: str = _unpublished("bundle")

    def __post_init__(self) -> None:
        for field in self.__slots__:
            reference = getattr(self, field)
            if not _BY_DIGEST.fullmatch(reference):
                raise errors.CommandError(
                    f"--{field} {reference}: name the image by its digest, as HOST/NAME@sha256:… (64 hex digits)"
                )

    def by_part(self) -> dict[str, str]:
        """References by what they are: scheduler, agent, cli, bundle."""
        return {field: getattr(self, field) for field in self.__slots__}
