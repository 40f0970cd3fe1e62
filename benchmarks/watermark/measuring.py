"""Measures one picture under one codec: marks it, attacks it, reads it again, times it all."""

from __future__ import annotations

import time
from dataclasses import astuple
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.watermark import quality
from benchmarks.watermark.attacks import ATTACKS
from benchmarks.watermark.peers import cpu_ms, open_peer
from benchmarks.watermark.pictures import Picture

if TYPE_CHECKING:
    from provenance.types import RasterImage

NATIVE = 0
"""Stands for the picture's own size."""


def load(picture: Picture, side_px: int) -> RasterImage:
    return picture.square(side_px) if side_px else picture.native()


@lru_cache(maxsize=4)
def _others(paths: tuple[str, ...], side_px: int) -> tuple[RasterImage, ...]:
    return tuple(load(Picture(Path(path), ""), side_px or 512) for path in paths)


def measure(
    codec: str,
    picture: Picture,
    number: int,
    side_px: int,
    names: tuple[str, ...],
    others: tuple[str, ...],
) -> dict[str, Any]:
    """One piece of the run.

    Args:
        codec: A key of `peers.PEERS`.
        picture: What is marked.
        number: Draws payload and chances.
        side_px: Central square of this side, or `NATIVE`.
        names: Attacks.
        others: Paths of pictures without a mark.

    Returns:
        Scalars of the picture, and ``outcomes``: by attack `peers.Outcome` as a list, with CPU ms.
    """
    peer = open_peer(codec)
    image = load(picture, side_px)
    peer.read(image, number)  # imports, keys and caches
    start = time.process_time()
    marked = peer.embed(image, number)
    embed_ms = cpu_ms(start)
    result = {"codec": codec, "picture": picture.name, "source": picture.source}
    if marked is None:
        return {**result, "marked": False, "outcomes": {}}
    start = time.process_time()
    peer.read(marked, number, thorough=False)
    direct_ms = cpu_ms(start)
    start = time.process_time()
    peer.read(image, number)
    absent_ms = cpu_ms(start)
    outcomes = {}
    for name in names:
        attacked = ATTACKS[name].apply(marked, seed=number, others=_others(others, side_px))
        start = time.process_time()
        outcome = peer.read(attacked, number)
        outcomes[name] = [*astuple(outcome), round(cpu_ms(start), 1)]
    return {
        **result,
        "marked": True,
        "psnr_db": quality.psnr_db(marked, image),
        "ssim": quality.ssim(marked, image),
        "embed_ms": embed_ms,
        "direct_ms": direct_ms,
        "absent_ms": absent_ms,
        "outcomes": outcomes,
    }
