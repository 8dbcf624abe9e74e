"""The page itself: what a report is made of, and its one HTML file.

A [Page][] is a verdict, a row of figures, sections of charts and tables (the evidence), caveats and
an appendix. [render][] turns it into one HTML file that needs nothing else: styles, charts (inline
SVG, one drawing for wide screens and one for narrow) and data are inside, and equal pages are equal
bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Literal

from markupsafe import Markup

Tone = Literal["good", "bad", "open"]


@dataclass(frozen=True)
class Verdict:
    """The answer first. `tone` says whether it speaks for the strategy, against it, or neither."""

    tone: Tone
    headline: str
    sentences: Sequence[str]


@dataclass(frozen=True)
class Tile:
    """One figure of the top row."""

    label: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class Chart:
    """A drawing in two widths, with a title and a sentence that says how to read it."""

    name: str
    title: str
    caption: str
    wide: Markup
    narrow: Markup
    half: bool = False
    kind: Literal["chart"] = "chart"


@dataclass(frozen=True)
class Table:
    """Rows of text; every column but the first is set as figures when `numeric`."""

    title: str
    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    half: bool = False
    numeric: bool = True
    kind: Literal["table"] = "table"


@dataclass(frozen=True)
class Section:
    """Some evidence under one heading."""

    title: str
    lead: str
    blocks: Sequence[Chart | Table]


@dataclass(frozen=True)
class Detail:
    """Text folded away in the appendix, shown as it is."""

    title: str
    text: str


@dataclass(frozen=True)
class Page:
    title: str
    subtitle: str
    verdict: Verdict
    tiles: Sequence[Tile]
    sections: Sequence[Section]
    caveats: Sequence[str]
    details: Sequence[Detail] = field(default_factory=tuple)


def render(page: Page) -> str:
    """The page as one HTML document, deterministic."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    source = files(__package__).joinpath("page.html.j2").read_text(encoding="utf-8")
    return environment.from_string(source).render(page=page) + "\n"
