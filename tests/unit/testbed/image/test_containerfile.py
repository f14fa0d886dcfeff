"""The Containerfile's reader: targets inherit, and what it cannot do it refuses by line."""

import pytest

from testbed.image import containerfile, errors

TEXT = """# a comment
FROM scratch AS base
ARG VERSION
ARG RELEASE=1
ADD base.tar /
ENV PATH=/bin \\
    LANG=C.UTF-8
LABEL vendor="Some \\"one\\"" version="${VERSION}" release="${RELEASE}"
USER 65532:65532
ENTRYPOINT ["program"]

FROM base AS target
ADD target.tar /
LABEL name="target" \\
      # a comment in between
      summary="what it is"
CMD ["serve", "--all"]
"""


def test_a_target_adds_to_its_base() -> None:
    """Layers, variables and labels are the base's and then the target's own; arguments have values or defaults."""
    stages = containerfile.read(TEXT, {"VERSION": "1.2"})
    target = stages["target"]
    assert target.layers == ["base.tar", "target.tar"]
    assert target.settings == {
        "Env": ["PATH=/bin", "LANG=C.UTF-8"],
        "Labels": {
            "vendor": 'Some "one"',
            "version": "1.2",
            "release": "1",
            "name": "target",
            "summary": "what it is",
        },
        "User": "65532:65532",
        "Entrypoint": ["program"],
        "Cmd": ["serve", "--all"],
    }
    assert stages["base"].layers == ["base.tar"]
    assert "name" not in stages["base"].settings["Labels"]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("RUN make", "RUN is not read"),
        ("COPY a /b", "COPY is not read"),
        ("FROM debian AS other", "debian is no stage"),
        ("FROM base", "FROM needs a name"),
        ("ADD file.txt /", "only tar files"),
        ("ADD target.tar /opt", "only tar files"),
        ('LABEL version="${OTHER}"', "OTHER has no value"),
        ("LABEL version", "not NAME=VALUE"),
        ("CMD serve", "Expecting value"),
    ],
)
def test_what_is_not_read_is_refused(line: str, why: str) -> None:
    """An instruction that would make another image than is written names its line."""
    with pytest.raises(errors.ImageError, match=rf"Containerfile:18: .*{why}"):
        containerfile.read(TEXT + line, {"VERSION": "1.2"})


def test_nothing_comes_before_the_first_from() -> None:
    """An instruction before any FROM belongs to no image."""
    with pytest.raises(errors.ImageError, match="before the first FROM"):
        containerfile.read("USER 1\n", {})
