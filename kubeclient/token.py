"""Tokens as they may stand in a header. Read by `kubeconfig` and `service_account`."""

from pathlib import Path


def read(file: Path) -> str:
    """The token in a file. Raises OSError where it cannot be read, is empty, or cannot be sent."""
    text = file.read_bytes().decode("latin-1").strip()  # takes any byte; what is not ASCII is refused below
    if not text:
        raise ConnectionError(f"no token: {file} is empty")
    return checked(text, str(file))


def checked(text: str, where: str) -> str:
    """A token without the spaces around it. Raises ConnectionError where it holds what a header cannot."""
    text = text.strip()
    if not text.isascii() or not text.isprintable():
        raise ConnectionError(f"no token: {where} holds something else than printable ASCII, as no token does")
    return text
