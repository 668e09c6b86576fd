"""Pieces of HTML that all answers are made of; every text of a user's is escaped here."""

from __future__ import annotations

import base64
import html
import io
import math
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

HYPHEN = "\u2011"
"""At which no line is broken."""
HEAT = ((0.0, (247, 248, 250)), (0.25, (253, 212, 158)), (0.6, (239, 101, 72)), (1.0, (103, 0, 31)))
"""Colours from certain to uncertain: place from 0 to 1, red, green and blue."""


def text(value: object) -> str:
    """A text as it is, whatever is in it."""
    return html.escape(str(value))


def tile(title: str, big: str, small: str = "", kind: str = "", wide: bool = False) -> str:
    """A number or a class that is read first. `kind`: base, ours, truth or "" for its colour."""
    under = f'<p class="small">{text(small)}</p>' if small else ""
    size = " wide" if wide else ""
    return (
        f'<div class="tile {kind}{size}"><h3>{text(title)}</h3>'
        f'<p class="big">{text(big)}</p>{under}</div>'
    )


def tiles(parts: Iterable[str]) -> str:
    """Beside each other, as many as there is room for."""
    return f'<div class="tiles">{"".join(parts)}</div>'


def section(title: str, body: str, note: str = "") -> str:
    """A part of an answer under a title."""
    below = f'<p class="note">{text(note)}</p>' if note else ""
    return f"<section><h2>{text(title)}</h2>{body}{below}</section>"


def line(sentence: str, kind: str = "note") -> str:
    """A sentence. `kind`: note, warn or error."""
    role = ' role="alert"' if kind == "error" else ""
    return f'<p class="{kind}"{role}>{text(sentence)}</p>'


def figure(source: str, title: str, kind: str = "", sharp: bool = False) -> str:
    """An image with its title below. `sharp`: its pixels are shown as squares."""
    how = "sharp" if sharp else ""
    return (
        f'<figure class="{kind}"><img class="{how}" src="{source}" alt="{text(title)}">'
        f"<figcaption>{text(title)}</figcaption></figure>"
    )


def figures(parts: Iterable[str]) -> str:
    """Images beside each other."""
    return f'<div class="figures">{"".join(parts)}</div>'


def image(pixels: Tensor) -> str:
    """The address of an image (C, H, W) with values from 0 to 1, one or three channels."""
    values = (pixels.detach().cpu().float().clamp(0, 1) * 255).round().byte().numpy()
    return png(np.repeat(values, 3, axis=0) if len(values) == 1 else values)


def heat(values: Tensor, largest: float) -> str:
    """The address of an image of some size (H, W), from 0 to `largest`, in the colours of HEAT."""
    scaled = (values.detach().cpu().float() / max(largest, 1e-12)).clamp(0, 1).numpy()
    return png(coloured(scaled))


def coloured(scaled: NDArray[np.float32]) -> NDArray[np.uint8]:
    """(H, W) from 0 to 1 as colours (3, H, W), whole numbers to 255, linearly between those of HEAT."""
    places = [place for place, _ in HEAT]
    channels = [np.interp(scaled, places, [c[n] for _, c in HEAT]) for n in range(3)]
    return np.stack(channels).round().astype(np.uint8)


def png(colours: NDArray[np.uint8]) -> str:
    """Colours (3, H, W) as an address that holds the image itself."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(colours.transpose(1, 2, 0))).save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def table(header: Sequence[str], rows: Iterable[Sequence[str]], caption: str = "") -> str:
    """Of cells that are HTML already; `header` is text. Wide ones scroll by themselves."""
    head = "".join(f'<th scope="col">{text(name)}</th>' for name in header)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    named = f"<caption>{text(caption)}</caption>" if caption else ""
    return (
        f'<div class="table" tabindex="0" role="region" aria-label="{text(caption or "table")}">'
        f"<table>{named}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def per_cent(share: float) -> str:
    """A probability, as people read it."""
    return f"{100 * share:.1f} %"


def short(value: float) -> str:
    """A number with the digits that tell: four of them, thousands apart, none behind a whole number."""
    if not math.isfinite(value):
        return "unknown"
    if abs(value) < 1e-6:
        return "0"
    whole = abs(value - round(value)) <= 1e-4 * abs(value) and abs(value) >= 1
    if abs(value) >= 1e4 or whole:
        return f"{value:,.0f}"
    places = max(0, 3 - math.floor(math.log10(abs(value))))
    if abs(value) >= 1e-3:
        return f"{value:,.{min(places, 4)}f}"
    return f"{value:.1e}".replace("e-", f"e{HYPHEN}")
