"""Pairs of different pictures: how near do they come?"""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.near_duplicates.material import photos, rendered
from benchmarks.siblings import FAMILY, keep_drawn
from provenance.fingerprint.hashes.pdq import PdqHasher
from provenance.fingerprint.similarity import (
    SEARCH_MAX_BITS,
    SEARCH_MIN_QUALITY,
    Likeness,
    is_verified,
)
from provenance.fingerprint.verification import load_verifier, make_thumbnail, read_thumbnail
from provenance.types import RasterImage

if TYPE_CHECKING:
    from collections.abc import Iterator


def compare_hashes(scenes: int) -> dict[str, Any]:
    """Hamming distances of all pairs, by how the two pictures are related.

    One of each pair is asked for in its eight turns, as the search does. Siblings have one prompt
    and two seeds. Rendered from one seed for two prompts that say nearly the same, pictures come
    out nearly the same: those pairs are neither copies nor strangers.
    """
    packed, families, seeds = _hashes(scenes)
    answer: dict[str, Any] = {
        name: {"pairs": 0, "within": 0, "nearest_bits": 256}
        for name in ("siblings", "one seed, other prompt", "strangers")
    }
    for n in range(len(packed) - 1):
        # (8, rows): the turned picture against all later ones as they are.
        differing = packed[n + 1 :, 0][None] ^ packed[n][:, None]
        row = np.bitwise_count(differing).sum(axis=2).min(axis=0)
        same = families[n + 1 :] == families[n]
        twins = ~same & (seeds[n + 1 :] == seeds[n])
        for cell, part in zip(
            answer.values(), (row[same], row[twins], row[~same & ~twins]), strict=True
        ):
            if len(part):
                cell["pairs"] += len(part)
                cell["within"] += int((part <= SEARCH_MAX_BITS).sum())
                cell["nearest_bits"] = min(cell["nearest_bits"], int(part.min()))
    return answer


def _hashes(scenes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(N, 8, 4) uint64, (N,) and (N,): hashes that may be searched in eight turns; family, seed."""
    pictures, families, seeds = [], [], []
    for family, one in enumerate(photos()):
        pictures.append(PdqHasher().hash_variants(one))
        families.append(-1 - family)
        seeds.append(-1 - family)
    for family, members in enumerate(rendered()):
        pictures += [PdqHasher().hash_variants(one) for one in members]
        families += [-1000 - family] * len(members)
        seeds += range(len(members))
    for kept in keep_drawn(scenes):
        grey = _as_raster(read_thumbnail(kept.thumbnail))
        pictures.append(PdqHasher().hash_variants(grey))
        families.append(kept.number // FAMILY)
        seeds.append(1000 + kept.number)
    usable = [n for n, one in enumerate(pictures) if one and one[0].quality >= SEARCH_MIN_QUALITY]
    raw = b"".join(bytes.fromhex(turn.hex) for n in usable for turn in pictures[n])
    packed = np.frombuffer(raw, dtype=np.uint64).reshape(-1, 8, 4)
    return packed, np.array(families)[usable], np.array(seeds)[usable]


def compare_points(scenes: int, *, most: int) -> dict[str, Any]:
    """Geometry on pairs of siblings, and on as many pairs of strangers; every pair is compared."""
    verifier = load_verifier()
    if verifier is None:
        raise SystemExit("geometry needs OpenCV or scikit-image")
    answer: dict[str, Any] = {}
    families = list(_families(scenes))
    for name, pairs in (
        ("rendered siblings", _within(families, "rendered")),
        ("drawn siblings", _within(families, "scene")),
        ("strangers", _across(families)),
    ):
        inliers, verified = [], 0
        for first, second in list(pairs)[:most]:
            found = verifier.verify(
                verifier.look(first), verifier.prepare_query(_as_raster(second))
            )
            inliers.append(found.inliers or 0)
            verified += is_verified(Likeness(inliers=found.inliers, agreement=found.agreement))
        answer[name] = {
            "pairs": len(inliers),
            "verified": verified,
            "most_inliers": max(inliers, default=0),
        }
        print(name, answer[name], flush=True)
    return answer


def _families(scenes: int) -> Iterator[tuple[str, list[np.ndarray]]]:
    for members in rendered():
        yield "rendered", [read_thumbnail(make_thumbnail(one)) for one in members]
    kept = [read_thumbnail(one.thumbnail) for one in keep_drawn(min(scenes, 1200))]
    for start in range(0, len(kept) - FAMILY + 1, FAMILY):
        yield "scene", kept[start : start + FAMILY]


def _within(
    families: list[tuple[str, list[np.ndarray]]], kind: str
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for name, members in families:
        if name == kind:
            yield from combinations(members, 2)


def _across(
    families: list[tuple[str, list[np.ndarray]]],
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """First and second picture of two families: never of one seed."""
    for step in (1, 7, 19):
        for n, (_, members) in enumerate(families):
            yield members[0], families[(n + step) % len(families)][1][1]


def _as_raster(grey: np.ndarray) -> RasterImage:
    return RasterImage(np.repeat(grey[:, :, None], 3, axis=2))
