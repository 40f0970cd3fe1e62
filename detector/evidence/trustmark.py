"""The source ``trustmark``: Adobe's TrustMark, where its package and its weights are present.

Optional; add it to ``detector.sources``. Nothing is ever fetched: the package downloads weights it
misses, so it is not touched before all its files are there and right. TrustMark stands for no kind
of making (cameras and editors write it too), so a finding is shown and decides nothing.

Presence is not the package's opinion: its error correction accepts one random word in five hundred
(BCH_5) or one in fourteen (BCH_3). The bits that were corrected are counted instead.

Source: adobe/trustmark at 0227423, ``trustmark.py``, ``datalayer.py``.
"""

from __future__ import annotations

import hashlib
import importlib
import math
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from provenance.types import Finding, KnownMarkEvidence, SourceFailure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from detector.evidence.context import SourceContext
    from provenance.types import BitArray, Candidate, Evidence, RasterImage

__all__ = [
    "MODELS",
    "TrustMarkSource",
    "build_source",
    "judge_word",
    "missing_parts",
    "word_p_value",
]

MODELS = ("Q", "P")
"""Variants looked for: the usual one and the one of highest quality."""

_REPORT_P_VALUE = 1e-6
_WORD_BITS = 96
_PARITY_BITS = {0: 56, 1: 35, 2: 28, 3: 21}
"""Parity bits of each schema: BCH_SUPER, BCH_5, BCH_4, BCH_3."""

_MIN_SIDE_PX = 150
"""As its authors ask."""

_LOCK = Lock()


class TrustMarkSource:
    """Reads TrustMark; thorough, because networks run."""

    name = "trustmark"
    thorough = True

    def collect(self, candidate: Candidate) -> Sequence[Evidence]:
        """One finding, or why it could not look."""
        raster = candidate.raster
        if raster is None or raster.min_side_px < _MIN_SIDE_PX:
            reason = f"TrustMark is read in pictures that decode, from {_MIN_SIDE_PX} pixels a side"
            return [KnownMarkEvidence(Finding.UNREADABLE, f"{reason}; this is none.")]
        ready = [model for model in MODELS if not missing_parts(model)]
        if not ready:
            return [SourceFailure(self.name, f"{missing_parts(MODELS[0])}.")]
        p_value, model = min((_read(raster, model), model) for model in ready)
        if p_value > _REPORT_P_VALUE:
            reason = "No TrustMark was found."
            return [KnownMarkEvidence(Finding.ABSENT, reason, p_value=p_value)]
        return [
            KnownMarkEvidence(
                Finding.PRESENT,
                "The pixels carry a TrustMark. Cameras, editors and generators write it, so it "
                "does not say how the picture was made.",
                "TrustMark",
                method=f"TrustMark {model}",
                p_value=p_value,
            )
        ]


def build_source(context: SourceContext) -> TrustMarkSource:  # noqa: ARG001  the group's signature
    """Entry point; this source needs nothing."""
    return TrustMarkSource()


@lru_cache(maxsize=len(MODELS))
def missing_parts(model: str) -> str:
    """What keeps a model from being run, in words; empty when nothing does.

    Args:
        model: One of `MODELS`.
    """
    package = find_spec("trustmark")
    if package is None or package.origin is None:
        return "The package trustmark is not installed"
    folder = Path(package.origin).parent / "models"
    digests = importlib.import_module("trustmark.trustmark").MODEL_CHECKSUMS
    for name in _files(model):
        path = folder / name
        if not path.is_file():
            return f"The weights of TrustMark {model} are not installed ({name} is missing)"
        if hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest() != digests[name]:
            return f"The weights of TrustMark {model} are not its authors' ({name} differs)"
    return ""


def word_p_value(flips: int, schema: int) -> float:
    """Bound for a random word that lies within so many bits of a codeword of any schema.

    Bits of unmarked pictures are taken for fair coins, which is nearly so for TrustMark.

    Args:
        flips: Bits corrected.
        schema: 0 to 3, the word's own.

    Returns:
        Words within reach of a codeword over all words, four times for the schemas; at most 1.
    """
    reach = sum(math.comb(_WORD_BITS, wrong) for wrong in range(flips + 1))
    return min(1.0, math.ldexp(4.0 * reach, -_PARITY_BITS[schema]))


def _files(model: str) -> tuple[str, ...]:
    return (
        f"trustmark_{model}.yaml",
        f"trustmark_rm_{model}.yaml",
        f"decoder_{model}.ckpt",
        f"encoder_{model}.ckpt",
        f"trustmark_rm_{model}.ckpt",
    )


def _read(raster: RasterImage, model: str) -> float:
    """P-value of what the picture says."""
    with _LOCK:  # one at a time: torch uses all cores anyway, and the framing keeps state
        text = _load(model).decode(Image.fromarray(raster.pixels), MODE="binary")[0]
        return judge_word(np.array([digit == "1" for digit in text]))


def judge_word(bits: BitArray) -> float:
    """P-value of a raw word; 1 for one that no schema accepts.

    Args:
        bits: (100,) bool, as the network says them.
    """
    layer = _layer(1)  # reads all schemas
    payload, accepted, schema = layer.decode_bitstream(bits[None], MODE="binary")[0]
    if not accepted or schema not in _PARITY_BITS:
        return 1.0
    word = np.asarray(_layer(schema).encode_binary([payload])[0], dtype=bool)
    return word_p_value(int((word != bits)[:_WORD_BITS].sum()), schema)


@lru_cache(maxsize=len(_PARITY_BITS))
def _layer(schema: int) -> Any:
    """The package's framing of words; takes seconds to make."""
    layers = importlib.import_module("trustmark.datalayer")
    return layers.DataLayer(_WORD_BITS + 4, verbose=False, encoding_mode=schema)


@lru_cache(maxsize=len(MODELS))
def _load(model: str) -> Any:
    package = importlib.import_module("trustmark")
    return package.TrustMark(use_ECC=False, verbose=False, model_type=model, device="cpu")
