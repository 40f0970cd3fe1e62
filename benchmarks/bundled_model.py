"""How well the bundled model draws what it is asked for: `generator.embedded.training.evaluate`.

    python -m benchmarks.bundled_model [--prompts N] [--scenes N]

Measures the weights that ship: the recogniser on true scenes and on wrong captions, reconstruction,
named subjects on prompts of the test split, seconds a picture. Writes
``docs/benchmarks/bundled_model.json`` and ``.md``. Five minutes on two idle cores.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.machine import describe_machine
from provenance.watermark.statistics import wilson_interval

if TYPE_CHECKING:
    from collections.abc import Mapping

RESULTS = Path(__file__).parent.parent / "docs" / "benchmarks"
MODEL = Path(__file__).parent.parent / "generator" / "embedded" / "model"


def as_markdown(result: Mapping[str, Any]) -> str:
    """The result as a page."""
    machine, report = result["machine"], result["report"]
    rows = [
        ("named subject in the named colour, test prompts", "prompts_recognised", "prompts"),
        ("recogniser, true scenes accepted", "true_scenes_recognised", "true_scenes"),
        ("recogniser, wrong captions accepted", "wrong_captions_accepted", "wrong_captions"),
    ]
    lines = [
        "# What the bundled model draws",
        "",
        f"`python -m benchmarks.bundled_model`: {machine['date']}, {machine['cpu']}, "
        f"{machine['cores']} cores, Python {machine['python']}. Weights "
        f"`{report['weights_sha256'][:12]}`, {report['side_px']}x{report['side_px']} pixels, "
        f"{report['steps']} steps, guidance {report['guidance']:g}. What the rules of the "
        "recogniser are, and what the model cannot do: "
        "[its card](../../generator/embedded/README.md).",
        "",
        "| | count | 95 % interval (Wilson) |",
        "|---|---|---|",
    ]
    for title, hits, of in rows:
        low, high = wilson_interval(report[hits], report[of])
        lines.append(f"| {title} | {report[hits]} of {report[of]} | {low:.2f} to {high:.2f} |")
    return "\n".join(
        [
            *lines,
            "",
            f"Reconstruction of {report['reconstruction_scenes']} fresh scenes: "
            f"{report['reconstruction_psnr_db']:.1f} dB PSNR. One picture: "
            f"{report['seconds_per_picture']:.1f} s wall clock.",
            "",
        ]
    )


def main() -> None:
    """Reads the command line, measures, writes both files."""
    # Here, so that `as_markdown` needs no torch.
    from generator.embedded.training.evaluate import evaluate
    from generator.pipelines.diffusers import BUNDLED_DEFAULTS

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=100)
    parser.add_argument("--scenes", type=int, default=300)
    wanted = parser.parse_args()
    report = evaluate(
        MODEL,
        prompts=wanted.prompts,
        scenes=wanted.scenes,
        steps=BUNDLED_DEFAULTS.steps,
        guidance=BUNDLED_DEFAULTS.guidance,
        side_px=512,
        sheet=None,
    )
    result = {"machine": describe_machine(), "report": asdict(report)}
    (RESULTS / "bundled_model.json").write_text(json.dumps(result, indent=1) + "\n")
    (RESULTS / "bundled_model.md").write_text(as_markdown(result))
    print(as_markdown(result))


if __name__ == "__main__":
    main()
