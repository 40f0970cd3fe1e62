"""Runs the demonstration in a folder of its own, with a registry and keys of its own."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from provenance.config import ManifestSettings, RegistrySettings, Settings, load_settings
from provenance.demo.attacks import ATTACKS, Attack
from provenance.files import write_file_atomic
from provenance.plugins import load_backend
from provenance.types import GenerationRequest, MediaType

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from provenance.interfaces import StepReport
    from provenance.types import Delivery, EncodedImage, Verdict

__all__ = ["PROMPTS", "DemoPicture", "Trial", "run_demo"]

PROMPTS = (
    "a red tree on a green hill in the morning",
    "a yellow balloon over the sea at night",
    "a purple tent on a green hill near a lake under a cloudy sky",
)

_SUFFIX = {MediaType.PNG: "png", MediaType.JPEG: "jpg", MediaType.WEBP: "webp"}


@dataclass(frozen=True, slots=True)
class Trial:
    """One attacked file and what the reader says of it."""

    attack: Attack
    path: Path
    image: EncodedImage
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class DemoPicture:
    """One generated picture with all its trials."""

    prompt: str
    delivery: Delivery
    trials: tuple[Trial, ...]


def run_demo(
    folder: Path, *, on_progress: Callable[[str, int, int], None]
) -> tuple[DemoPicture, ...]:
    """Generates three pictures, attacks each, verifies everything, writes all files.

    Args:
        folder: Gets `pictures/`, `attacked/` and `state/` (registry and keys).
        on_progress: Called with (what is done now, steps done, steps in all).

    Raises:
        ProvenanceError: The environment is not in order, or the folder cannot be written.
    """
    settings = _isolate(load_settings(home=folder.absolute() / "state"))
    on_progress("loading the model", 0, 1)
    generator = load_backend("countermark.services", "generator")(settings)
    suits = generator.defaults(None)
    deliveries = []
    for index, prompt in enumerate(PROMPTS):
        request = GenerationRequest(
            prompt=prompt, seed=20 + index, steps=suits.steps, guidance=suits.guidance
        )
        label = f"picture {index + 1} of {len(PROMPTS)}"

        def step(report: StepReport, label: str = label) -> None:
            on_progress(label, report.done, report.total)

        delivery = generator.service.generate(request, step)
        name = f"{index + 1}.{_SUFFIX[delivery.asset.image.media_type]}"
        write_file_atomic(folder / "pictures" / name, delivery.asset.image.data)
        deliveries.append((prompt, delivery))
    return _attack_all(folder, deliveries, settings, on_progress)


def _isolate(settings: Settings) -> Settings:
    """The same settings without anything that belongs to a deployment: registry, keys, TSA."""
    return replace(
        settings,
        registry=RegistrySettings(),
        manifest=ManifestSettings(),
        watermark=replace(settings.watermark, key_file=""),
    )


def _attack_all(
    folder: Path,
    deliveries: list[tuple[str, Delivery]],
    settings: Settings,
    on_progress: Callable[[str, int, int], None],
) -> tuple[DemoPicture, ...]:
    detector = load_backend("countermark.services", "detector")(settings)
    total, done = len(deliveries) * len(ATTACKS), 0
    pictures = []
    for index, (prompt, delivery) in enumerate(deliveries):
        trials = []
        for number, attack in enumerate(ATTACKS):
            image = attack.apply(delivery.asset)
            path = folder / "attacked" / f"{index + 1}-{number}.{_SUFFIX[image.media_type]}"
            write_file_atomic(path, image.data)
            verdict = detector.verify(image.data, name=str(path))
            trials.append(Trial(attack, path, image, verdict))
            done += 1
            on_progress(f"verifying: {attack.name}", done, total)
        pictures.append(DemoPicture(prompt, delivery, tuple(trials)))
    return tuple(pictures)
