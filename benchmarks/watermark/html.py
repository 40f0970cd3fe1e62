"""The robustness report as one page without scripts or outside files."""

from __future__ import annotations

import base64
import html
import io
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from benchmarks.watermark.edits import from_levels
from benchmarks.watermark.peers import open_peer
from benchmarks.watermark.report import GROUP_TITLES, groups_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from benchmarks.watermark.pictures import Picture
    from provenance.types import RasterImage

_COLOURS = ("#2563a8", "#c2571a", "#3f8f4f", "#8a5fb0", "#a08020", "#b03060", "#606060")
_BAR, _LABEL, _WIDTH = 9, 250, 420
_SHOWN_CODEC, _SHOWN_SIDE_PX = "lattice", 512
_JPEG_QUALITY = 88
_GAIN = 10
_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:1100px;margin:2rem auto;padding:0 1rem;
color:#222;background:#fff}
h1,h2,h3{line-height:1.2}svg{max-width:100%;height:auto}
figure{margin:1rem 0;display:flex;gap:6px;flex-wrap:wrap}figure img{width:32%;min-width:200px}
figcaption{width:100%}.key span{margin-right:1.2em;white-space:nowrap}
.key i{display:inline-block;width:.8em;height:.8em;margin-right:.4em}
"""


def write_html(result: dict[str, Any], pictures: Mapping[str, Picture], path: Path) -> None:
    """Writes the page; `pictures` are the photographs by name."""
    machine = result["machine"]
    parts = [
        "<!doctype html><html lang='en'><meta charset='utf-8'>",
        "<meta name='viewport' content='width=device-width'>",
        f"<title>What the marks withstand</title><style>{_STYLE}</style>",
        "<h1>What the marks withstand</h1>",
        f"<p><code>{html.escape(result['command'])}</code>: {machine['date']}, "
        f"{html.escape(machine['cpu'])}, {machine['cores']} cores. Bars: share of pictures from "
        "which everything that was written came back; thin line: 95 % interval (Wilson); dashed: "
        "the group's target. Figures with their n: <a href='watermark.md'>watermark.md</a>.</p>",
    ]
    for section in result["sections"].values():
        parts += [f"<h2>{html.escape(section['title'])}</h2>", _key(list(section["codecs"]))]
        for group, target, names in groups_of(section):
            parts += [f"<h3>{GROUP_TITLES[group]}</h3>", _plot(section["codecs"], names, target)]
    parts += _worst_pictures(result, pictures)
    path.write_text("\n".join(parts) + "\n")


def _key(codecs: list[str]) -> str:
    entries = "".join(
        f"<span><i style='background:{_COLOURS[n % len(_COLOURS)]}'></i>{html.escape(name)}</span>"
        for n, name in enumerate(codecs)
    )
    return f"<p class='key'>{entries}</p>"


def _plot(codecs: dict[str, Any], names: list[str], target: float | None) -> str:
    row = _BAR * len(codecs) + 8
    height = row * len(names) + 18
    bars = []
    for number, name in enumerate(names):
        top = number * row
        middle = top + row / 2
        bars.append(f"<text x='{_LABEL - 8}' y='{middle:.0f}' class='l'>{html.escape(name)}</text>")
        for place, codec in enumerate(codecs.values()):
            if name in codec["attacks"]:
                colour = _COLOURS[place % len(_COLOURS)]
                bars.append(_bar(codec["attacks"][name], top + place * _BAR, colour))
    for share in (0, 0.25, 0.5, 0.75, 1):
        x = _LABEL + share * _WIDTH
        bars.append(f"<text x='{x}' y='{height - 3}' class='a'>{share:.0%}</text>")
    if target is not None:
        x = _LABEL + target * _WIDTH
        bars.append(f"<path d='M{x:.1f} 0V{height - 16}' stroke='#444' stroke-dasharray='3 3'/>")
    style = "text{font:11px system-ui,sans-serif}.l{text-anchor:end}.a{text-anchor:middle}"
    box = f"0 0 {_LABEL + _WIDTH + 30} {height}"
    return (
        f"<svg viewBox='{box}' width='{_LABEL + _WIDTH + 30}' role='img'>"
        f"<style>{style}</style>{''.join(bars)}</svg>"
    )


def _bar(count: dict[str, Any], top: float, colour: str) -> str:
    length = count["exact"] / count["of"] * _WIDTH
    low, high = (_LABEL + end * _WIDTH for end in count["wilson_95"])
    middle = top + _BAR / 2
    return (
        f"<rect x='{_LABEL}' y='{top}' width='{length:.1f}' height='{_BAR - 1}' fill='{colour}'>"
        f"<title>{count['exact']} of {count['of']}</title></rect>"
        f"<path d='M{low:.1f} {middle}H{high:.1f}' stroke='#222' stroke-width='.8'/>"
    )


def _worst_pictures(result: dict[str, Any], pictures: Mapping[str, Picture]) -> list[str]:
    codec = result["sections"].get("512", {"codecs": {}})["codecs"].get(_SHOWN_CODEC)
    if codec is None or "worst" not in codec:
        return []
    parts = [
        f"<h2>Where {_SHOWN_CODEC} shows most</h2><p>The pictures of lowest SSIM: original, "
        f"marked, and the difference times {_GAIN} around grey. Saved here as JPEG.</p>"
    ]
    order = list(pictures)
    for worst in codec["worst"]:
        picture = pictures.get(worst["picture"])
        if picture is None:
            continue
        original = picture.square(_SHOWN_SIDE_PX)
        marked = open_peer(_SHOWN_CODEC).embed(original, order.index(picture.name))
        if marked is None:
            continue
        error = marked.pixels.astype(np.float32) - original.pixels
        three = (original, marked, from_levels(128 + _GAIN * error))
        images = "".join(f"<img src='{_data_uri(one)}' alt=''>" for one in three)
        words = f"{picture.name}: {worst['psnr_db']:.1f} dB, SSIM {worst['ssim']:.4f}"
        parts.append(f"<figure>{images}<figcaption>{html.escape(words)}</figcaption></figure>")
    return parts


def _data_uri(image: RasterImage) -> str:
    out = io.BytesIO()
    Image.fromarray(image.pixels).save(out, "JPEG", quality=_JPEG_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode()
