"""Measures a model folder: recogniser, reconstruction, recognised subjects, seconds.

Usage: ``python -m generator.embedded.training.evaluate MODEL REPORT.json --sheet SHEET.png``

The recogniser is checked first, on true scenes with their own and with wrong captions. Prompts
come from the test split: combinations that no training scene shows.
"""

# mypy: disable-error-code="no-untyped-call"
# NOTE: torch, diffusers and transformers annotate only some of their functions.
from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from diffusers import DiffusionPipeline
from PIL import Image

from generator.embedded.training.captions import (
    Colour,
    SceneSpec,
    Split,
    Subject,
    Thing,
    sample_spec,
    write_caption,
)
from generator.embedded.training.export import digest_weights
from generator.embedded.training.recognise import shows_subject
from generator.embedded.training.scenes import draw_scene
from generator.embedded.training.train_autoencoder import fresh_scenes, measure_psnr
from generator.pipelines.diffusers import BUNDLED_DEFAULTS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["Report", "check_recogniser", "evaluate", "sample_asked", "wrong_subject"]

# Prompts, captions and scenes of the evaluation; training uses others (and another split).
_SEED = 20_260_801
_SHEET_COLUMNS = 4
_SHEET_PX = 256


@dataclass(frozen=True, kw_only=True)
class Report:
    """What was measured, and with what."""

    weights_sha256: str
    steps: int
    guidance: float
    side_px: int
    threads: int
    true_scenes: int
    true_scenes_recognised: int
    wrong_captions: int
    wrong_captions_accepted: int
    reconstruction_scenes: int
    reconstruction_psnr_db: float
    prompts: int
    prompts_recognised: int
    seconds_per_picture: float


def sample_asked(rng: np.random.Generator) -> tuple[SceneSpec, Subject, str]:
    """Draws a scene of the test split that has a subject, and says it in words."""
    while True:
        spec = sample_spec(rng, Split.TEST)
        if spec.subject is not None:
            return spec, spec.subject, write_caption(rng, spec)


def wrong_subject(rng: np.random.Generator, subject: Subject) -> Subject:
    """Answers a subject with another colour, another name, or both."""
    while True:
        other = subject
        if rng.random() < 0.67:
            other = replace(other, colour=list(Colour)[rng.integers(len(Colour))])
        if rng.random() < 0.67:
            other = replace(other, thing=list(Thing)[rng.integers(len(Thing))])
        if (other.colour, other.thing) != (subject.colour, subject.thing):
            return other


def _shows(picture: NDArray[np.uint8], subject: Subject) -> bool:
    return shows_subject(picture, thing=subject.thing, colour=subject.colour)


def check_recogniser(count: int) -> tuple[int, int]:
    """Counts, of ``count`` true scenes, those recognised by their own and by a wrong subject."""
    rng = np.random.default_rng([_SEED, 1])
    right = wrong = 0
    for _ in range(count):
        spec, subject, _caption = sample_asked(rng)
        picture = draw_scene(spec)
        right += _shows(picture, subject)
        wrong += _shows(picture, wrong_subject(rng, subject))
    return right, wrong


def _write_sheet(path: Path, pictures: Sequence[NDArray[np.uint8]]) -> None:
    rows = len(pictures) // _SHEET_COLUMNS
    sheet = Image.new("RGB", (_SHEET_COLUMNS * _SHEET_PX, rows * _SHEET_PX))
    for index, picture in enumerate(pictures[: rows * _SHEET_COLUMNS]):
        small = Image.fromarray(picture).resize((_SHEET_PX, _SHEET_PX), Image.Resampling.LANCZOS)
        place = divmod(index, _SHEET_COLUMNS)
        sheet.paste(small, (place[1] * _SHEET_PX, place[0] * _SHEET_PX))
    sheet.save(path)


def evaluate(
    folder: Path,
    *,
    prompts: int,
    scenes: int,
    steps: int,
    guidance: float,
    side_px: int,
    sheet: Path | None,
) -> Report:
    """Measures the model in ``folder``.

    Args:
        folder: A diffusers folder.
        prompts: Pictures to draw from prompts of the test split.
        scenes: True scenes that the recogniser is checked on.
        steps: Steps of the sampler.
        guidance: Classifier-free guidance scale.
        side_px: Height and width of the pictures.
        sheet: Where to save the first sixteen pictures; their prompts are printed.
    """
    pipeline = DiffusionPipeline.from_pretrained(
        folder, local_files_only=True, use_safetensors=True
    )
    pipeline.set_progress_bar_config(disable=True)
    right, wrong = check_recogniser(scenes)
    reconstruction = fresh_scenes(16, seed=_SEED, split=Split.TEST)
    psnr = measure_psnr(pipeline.vae, reconstruction)
    rng = np.random.default_rng([_SEED, 2])
    pictures: list[NDArray[np.uint8]] = []
    recognised = 0
    began = time.monotonic()
    for index in range(prompts):
        _spec, subject, caption = sample_asked(rng)
        drawn = pipeline(
            caption,
            num_inference_steps=steps,
            guidance_scale=guidance,
            height=side_px,
            width=side_px,
            generator=torch.Generator().manual_seed(_SEED + index),
            output_type="np",
        ).images[0]
        pictures.append(np.round(drawn * 255).astype(np.uint8))
        seen = _shows(pictures[-1], subject)
        recognised += seen
        print(f"{'yes' if seen else 'no '} {caption}", flush=True)
    took = time.monotonic() - began
    if sheet is not None:
        _write_sheet(sheet, pictures[:16])
    return Report(
        weights_sha256=digest_weights(folder),
        steps=steps,
        guidance=guidance,
        side_px=side_px,
        threads=torch.get_num_threads(),
        true_scenes=scenes,
        true_scenes_recognised=right,
        wrong_captions=scenes,
        wrong_captions_accepted=wrong,
        reconstruction_scenes=len(reconstruction),
        reconstruction_psnr_db=round(psnr, 2),
        prompts=prompts,
        prompts_recognised=recognised,
        seconds_per_picture=round(took / prompts, 2),
    )


def main() -> None:
    """Reads the command line, measures, writes the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("report", type=Path)
    parser.add_argument("--sheet", type=Path)
    parser.add_argument("--prompts", type=int, default=100)
    parser.add_argument("--scenes", type=int, default=300)
    parser.add_argument("--steps", type=int, default=BUNDLED_DEFAULTS.steps)
    parser.add_argument("--guidance", type=float, default=BUNDLED_DEFAULTS.guidance)
    parser.add_argument("--side", type=int, default=512, help="pixels")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    report = evaluate(
        options.folder,
        prompts=options.prompts,
        scenes=options.scenes,
        steps=options.steps,
        guidance=options.guidance,
        side_px=options.side,
        sheet=options.sheet,
    )
    words = json.dumps(asdict(report), indent=2)
    options.report.write_text(words + "\n", encoding="utf-8")
    print(words)


if __name__ == "__main__":
    main()
