"""CLIP image embeddings through open_clip: what a picture shows, as a unit vector.

CLIP answers "the same kind of subject", not "the same picture": its neighbours are told as similar
and never decide a verdict. Weights come from the model hub on first use, or from a local folder in
the hub's layout, with which nothing is fetched::

    open_clip_config.json          model_cfg and preprocess_cfg
    open_clip_model.safetensors    weights
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import numpy as np
import open_clip
import torch
from PIL import Image
from safetensors import SafetensorError

from provenance.errors import BackendUnavailableError, ConfigError
from provenance.fingerprint.plain import encode_all_but_plain
from provenance.fingerprint.similarity import SEARCH_MIN_COSINE
from provenance.types import Embedding, EmbeddingSpace, SpaceKind

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy.typing as npt

    from provenance.types import RasterImage

__all__ = ["OpenClipEmbedder", "load_embedder"]

_PREPROCESSING = "p1"
"""Version of the way from `RasterImage` to the model's own transform."""

_CONFIG_FILE = "open_clip_config.json"
_WEIGHTS_FILE = "open_clip_model.safetensors"

_LOAD_ERRORS = (RuntimeError, OSError, ValueError, KeyError, TypeError, SafetensorError)
"""What open_clip raises for an unreachable hub, a foreign configuration or unfitting weights."""


@dataclass(frozen=True, slots=True)
class OpenClipEmbedder:
    """Encodes pictures with the image tower of one model; see `interfaces.Embedder`.

    Attributes:
        space: Semantic: its neighbours are never copies by that alone.
    """

    space: EmbeddingSpace
    _visual: Any = field(repr=False)
    _transform: Any = field(repr=False)
    _device: torch.device = field(repr=False)

    @property
    def space_id(self) -> str:
        """Model, weights and preprocessing: ``open_clip/NAME@WEIGHTS+PREPROCESSING``."""
        return self.space.space_id

    def encode(self, image: RasterImage) -> Embedding | None:
        """The embedding; None for flat or tiny pictures, or where the model has no direction."""
        return self.encode_batch([image])[0]

    def encode_batch(self, images: Sequence[RasterImage]) -> Sequence[Embedding | None]:
        """All pictures in one pass through the model."""
        return encode_all_but_plain(images, self.space_id, self._run)

    def _run(self, images: Sequence[RasterImage]) -> npt.NDArray[np.float64]:
        ready = [self._transform(Image.fromarray(one.pixels)) for one in images]
        with torch.inference_mode():
            features = self._visual(torch.stack(ready).to(self._device)).float().cpu().numpy()
        rows: npt.NDArray[np.float64] = features.astype(np.float64)
        return rows


def load_embedder(
    *,
    model: str = "ViT-B-32",
    pretrained: str = "laion2b_s34b_b79k",
    folder: Path | None = None,
    device: str = "cpu",
    cache_dir: Path | None = None,
) -> OpenClipEmbedder:
    """Loads a model and pins its space by the digest of the weights that were really loaded.

    Args:
        model: Architecture, as open_clip names it; for hub weights.
        pretrained: Tag of the weights, as open_clip names it.
        folder: Local folder in the hub's layout; then `model` and `pretrained` are not used and
            nothing is fetched.
        device: A torch device.
        cache_dir: Where hub weights are kept; None is the hub's own default.

    Raises:
        ConfigError: Unknown model, tag or device.
        BackendUnavailableError: The weights cannot be fetched, or the folder is incomplete.
    """
    target = _parse_device(device)
    if folder is None:
        name = f"{model}/{pretrained}"
        _check_tag(model, pretrained)
        network, transform = _create(model, pretrained, target, cache_dir)
    else:
        name = folder.resolve().name
        _check_folder(folder)
        network, transform = _create(f"local-dir:{folder}", None, target, None)
    visual = network.visual.eval()
    space_id = (
        f"open_clip/{name}@{_digest_weights(visual)[:16]}"
        f"+{_PREPROCESSING}-{_digest_preprocessing(visual)[:8]}"
    )
    space = EmbeddingSpace(
        space_id=space_id, kind=SpaceKind.SEMANTIC, similar_min_cosine=SEARCH_MIN_COSINE
    )
    return OpenClipEmbedder(space, visual, transform, target)


def _create(
    source: str, pretrained: str | None, device: torch.device, cache_dir: Path | None
) -> tuple[Any, Any]:
    try:
        network, _, transform = open_clip.create_model_and_transforms(
            source,
            pretrained=pretrained,
            device=device,
            cache_dir=None if cache_dir is None else str(cache_dir),
            weights_only=True,
        )
    except _LOAD_ERRORS as error:
        what = source if pretrained is None else f"{source} with weights {pretrained}"
        raise BackendUnavailableError(
            f"open_clip cannot load {what}: {error}. Without access to the model hub, put "
            f"{_CONFIG_FILE} and {_WEIGHTS_FILE} of the model into a folder and name that folder; "
            "or do without an embedder: perceptual hashes need no weights"
        ) from error
    return network, transform


def _parse_device(device: str) -> torch.device:
    try:
        return torch.device(device)
    except RuntimeError as error:
        raise ConfigError(f"device {device!r} is none that torch knows; use cpu or cuda") from error


def _check_tag(model: str, pretrained: str) -> None:
    """Only known tags: open_clip would also take a path here, and unpickle what lies there."""
    models = open_clip.list_models()
    if model not in models:
        raise ConfigError(f"open_clip has no model {model!r}{_suggest(model, models)}")
    tags = open_clip.list_pretrained_tags_by_model(model)
    if pretrained not in tags:
        raise ConfigError(
            f"open_clip has no weights {pretrained!r} for {model}{_suggest(pretrained, tags)}; "
            "your own weights go into a folder in the hub's layout"
        )


def _suggest(name: str, known: list[str]) -> str:
    near = get_close_matches(name, known, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _check_folder(folder: Path) -> None:
    """Both files: without weights open_clip only warns and answers from random numbers."""
    for file in (_CONFIG_FILE, _WEIGHTS_FILE):
        if not (folder / file).is_file():
            raise BackendUnavailableError(
                f"{folder} has no {file}: an open_clip folder holds {_CONFIG_FILE} and "
                f"{_WEIGHTS_FILE}, as in the model's repository on the hub"
            )


def _digest_weights(visual: Any) -> str:
    """SHA-256 over the image tower's tensors, by name: equal for equal weights in any file."""
    digest = hashlib.sha256()
    for name, tensor in sorted(visual.state_dict().items()):
        digest.update(f"{name}:{tensor.dtype}:{tuple(tensor.shape)};".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def _digest_preprocessing(visual: Any) -> str:
    """SHA-256 over size, crop, interpolation and normalisation of the model's transform."""
    settings = json.dumps(visual.preprocess_cfg, sort_keys=True, default=str)
    return hashlib.sha256(settings.encode()).hexdigest()
