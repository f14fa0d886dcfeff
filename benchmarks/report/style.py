"""Style: how every figure looks, and how it becomes files. Used by `plots` and `page`.

Colours are those of Okabe and Ito, which people with any common colour blindness tell apart; what differs by colour
differs by marker, line or hatch as well. Text is drawn as outlines, so that a figure looks alike everywhere.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import matplotlib as mpl
from matplotlib.figure import Figure

INK = "#222222"
MUTED = "#767676"
GRID = "#dddddd"
BLUE, ORANGE, GREEN, VERMILLION, PURPLE, SKY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9"

# Line and colour together tell a series apart.
Dashes = Literal["-", "--", "-.", ":"] | tuple[float, tuple[float, ...]]
SERIES: tuple[tuple[str, Dashes], ...] = (
    (MUTED, ":"),
    (ORANGE, "--"),
    (SKY, "-."),
    (BLUE, "-"),
    (VERMILLION, (0, (6, 1, 1, 1, 1, 1))),
    (GREEN, "--"),
    (PURPLE, ":"),
)

_DPI = 100
_RC: dict[Any, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same text width everywhere
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "svg.fonttype": "path",
}


@dataclass(frozen=True)
class Plot:
    """A finished figure; `caption` says how to read it."""

    name: str
    title: str
    caption: str
    figure: Figure

    def svg(self) -> str:
        """The figure as an <svg> element, the same for the same figure."""
        with _settings(self.name):
            file = io.StringIO()
            self.figure.savefig(file, format="svg", metadata={"Date": None, "Title": self.title})
        text = file.getvalue()
        return text[text.index("<svg") :]

    def png(self) -> bytes:
        """The figure as a PNG file, the same for the same figure."""
        with _settings(self.name):
            file = io.BytesIO()
            metadata = {"Title": self.title, "Software": None}
            self.figure.savefig(file, format="png", metadata=metadata, pil_kwargs={"optimize": True})
        return file.getvalue()

    def write(self, folder: Path) -> list[Path]:
        """The figure as PNG and SVG files."""
        files = [folder / f"{self.name}.svg", folder / f"{self.name}.png"]
        files[0].write_text(self.svg(), encoding="utf-8")
        files[1].write_bytes(self.png())
        return files


@contextmanager
def _settings(name: str) -> Iterator[None]:
    with mpl.rc_context({**_RC, "svg.hashsalt": name}):
        yield


@contextmanager
def figure(width: float, height: float) -> Iterator[Figure]:
    """A new figure of that many inches, under our settings while it is drawn."""
    with _settings("figure"):
        yield Figure(figsize=(width, height), dpi=_DPI, layout="constrained")
