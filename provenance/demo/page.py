"""The demonstration as one self-contained HTML page: no script, no external asset."""

from __future__ import annotations

import base64
import io
from html import escape
from typing import TYPE_CHECKING

from PIL import Image

from provenance.errors import InputError
from provenance.imaging import decode_image
from provenance.types import Finding

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provenance.demo.run import DemoPicture, Trial
    from provenance.types import Evidence, Verdict

__all__ = ["answering_marks", "render_page"]

THUMBNAIL_PX = 160

_SYMBOL = {
    Finding.PRESENT: "✓",
    Finding.ABSENT: "–",
    Finding.INVALID: "✗",
    Finding.UNREADABLE: "?",
}

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8881; --good: #1b7f4b; --warn: #a15c00; }
@media (prefers-color-scheme: dark) { :root { --good: #5fd39a; --warn: #ffb454; } }
* { box-sizing: border-box; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 78rem; padding: 2rem 1rem; }
h1 { font-size: 1.9rem; margin: 0; } h2 { margin: 2.5rem 0 .3rem; font-size: 1.25rem; }
.lead { max-width: 60rem; } code { font-size: .85em; overflow-wrap: anywhere; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(22rem, 1fr)); gap: 1rem; }
.card { border: 1px solid var(--line); border-radius: .6rem; padding: .8rem; display: grid;
  grid-template-columns: 130px 1fr; gap: .9rem; align-content: start; }
.card img { width: 130px; border-radius: .35rem; display: block; }
.card h3 { margin: 0; font-size: 1rem; }
.story { margin: .1rem 0 .5rem; font-size: .85rem; opacity: .8; }
.answer { font-weight: 650; } .answer.good { color: var(--good); }
.answer.warn { color: var(--warn); }
ul.marks { grid-column: 1 / -1; list-style: none; margin: 0; padding: 0; font-size: .85rem; }
ul.marks li { padding-left: 1.3rem; text-indent: -1.3rem; }
ul.marks b { display: inline-block; width: 1.3rem; text-indent: 0; }
details { grid-column: 1 / -1; font-size: .85rem; } summary { cursor: pointer; }
table { border-collapse: collapse; margin: 1rem 0; }
th, td { text-align: left; padding: .35rem .7rem; border-bottom: 1px solid var(--line); }
th { font-weight: 600; }
"""


def render_page(pictures: Sequence[DemoPicture]) -> str:
    """The page. Every text from outside is escaped; pictures are embedded as thumbnails."""
    sections = "".join(_picture_section(number, p) for number, p in enumerate(pictures, 1))
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Countermark: what survives</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_STYLE}</style></head>
<body><h1>What survives, and which mark answers</h1>
<p class="lead">Each picture below was generated, marked with an invisible watermark, signed with a
C2PA manifest, and registered. Then things happened to it that happen to pictures. For each
file the verifier says what its evidence shows, and which mark it rests on. <em>Unknown</em> is an
honest answer: it says that no evidence was left, not that a person made the picture.</p>
{_summary(pictures)}{sections}</body></html>
"""


def _summary(pictures: Sequence[DemoPicture]) -> str:
    names = [trial.attack.name for trial in pictures[0].trials]
    rows = "".join(_summary_row(name, index, pictures) for index, name in enumerate(names))
    heads = "".join(f"<th scope=col>picture {n}</th>" for n in range(1, len(pictures) + 1))
    return f"<table><thead><tr><th scope=col>what happened</th>{heads}</tr></thead>{rows}</table>"


def _summary_row(name: str, index: int, pictures: Sequence[DemoPicture]) -> str:
    cells = "".join(f"<td>{_answer(p.trials[index].verdict)}</td>" for p in pictures)
    return f"<tr><th scope=row>{escape(name)}</th>{cells}</tr>"


def _answer(verdict: Verdict) -> str:
    kind = "good" if verdict.record_id is not None else "warn"
    return f'<span class="answer {kind}">{verdict.origin} / {verdict.assurance}</span>'


def _picture_section(number: int, picture: DemoPicture) -> str:
    record = picture.delivery.record
    cards = "".join(_card(trial) for trial in picture.trials)
    mark = record.watermark
    quality = "" if mark is None else f" · watermark {mark.codec}, {mark.psnr_db:.1f} dB"
    return (
        f"<h2>{number}. {escape(picture.prompt)}</h2>"
        f"<p>record <code>{record.record_id}</code>{quality} · manifest "
        f"<code>{escape(record.manifest_label)}</code></p><div class=cards>{cards}</div>"
    )


def _card(trial: Trial) -> str:
    marks = "".join(
        f"<li><b aria-hidden=true>{_SYMBOL[e.finding]}</b>{escape(_describe(e))}</li>"
        for e in trial.verdict.evidence
    )
    reasons = "".join(f"<li>{escape(reason)}</li>" for reason in trial.verdict.reasons)
    return f"""<article class=card><img alt="the picture after: {escape(trial.attack.name)}"
 src="{_thumbnail(trial.image.data)}"><div><h3>{escape(trial.attack.name)}</h3>
<p class=story>{escape(trial.attack.story)}</p>{_answer(trial.verdict)}</div>
<ul class=marks>{marks}</ul>
<details><summary>what this means, and what it does not</summary>
<ul>{reasons}</ul></details></article>"""


def _describe(evidence: Evidence) -> str:
    return f"{evidence.source}: {evidence.finding} – {evidence.reason}"


def answering_marks(verdict: Verdict) -> str:
    """Names of the sources that found something, for the table on screen."""
    present = [e.source for e in verdict.evidence if e.finding is Finding.PRESENT]
    return ", ".join(dict.fromkeys(present)) or "none"


def _thumbnail(data: bytes) -> str:
    try:
        picture = Image.fromarray(decode_image(data).pixels)
    except InputError:
        return ""
    picture.thumbnail((THUMBNAIL_PX * 2, THUMBNAIL_PX * 2))
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=82)
    return "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode("ascii")
