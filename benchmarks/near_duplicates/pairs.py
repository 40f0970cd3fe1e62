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
    VERIFIED_MIN_AGREEMENT,
    VERIFIED_MIN_INLIERS,
)
from provenance.fingerprint.verification import load_verifier, make_thumbnail, read_thumbnail
from provenance.types import RasterImage

if TYPE_CHECKING:
    from collections.abc import Iterator


def compare_hashes(scenes: int) -> dict[str, Any]:
    """Hamming distances of all pairs, those of one family counted by themselves."""
    packed, families = _hashes(scenes)
    distances = {"siblings": [256], "strangers": [256]}
    counts = dict.fromkeys(distances, 0)
    near = dict.fromkeys(distances, 0)
    for n in range(len(packed) - 1):
        row = np.bitwise_count(packed[n + 1 :] ^ packed[n]).sum(axis=1)
        same = families[n + 1 :] == families[n]
        for name, part in (("siblings", row[same]), ("strangers", row[~same])):
            if len(part):
                counts[name] += len(part)
                near[name] += int((part <= SEARCH_MAX_BITS).sum())
                distances[name].append(int(part.min()))
    return {
        name: {"pairs": counts[name], "within": near[name], "nearest_bits": min(distances[name])}
        for name in distances
    }


def _hashes(scenes: int) -> tuple[np.ndarray, np.ndarray]:
    """(N, 4) uint64 and (N,): hashes that are distinctive enough to be searched, and families."""
    found, families = [], []
    sources = [[one] for one in photos()] + rendered()
    for family, members in enumerate(sources):
        found += [PdqHasher().hash(one) for one in members]
        families += [-1 - family] * len(members)
    for kept in keep_drawn(scenes):
        found.append(kept.perceptual_hash)
        families.append(kept.number // FAMILY)
    usable = [n for n, one in enumerate(found) if one and one.quality >= SEARCH_MIN_QUALITY]
    raw = b"".join(bytes.fromhex(found[n].hex) for n in usable)
    return np.frombuffer(raw, dtype=np.uint64).reshape(-1, 4), np.array(families)[usable]


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
            verified += (
                inliers[-1] >= VERIFIED_MIN_INLIERS
                and (found.agreement or 0.0) >= VERIFIED_MIN_AGREEMENT
            )
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
    firsts = [members[0] for _, members in families]
    for step in (1, 7, 19):
        for n, one in enumerate(firsts):
            yield one, firsts[(n + step) % len(firsts)]


def _as_raster(grey: np.ndarray) -> RasterImage:
    return RasterImage(np.repeat(grey[:, :, None], 3, axis=2))
