"""Makes the vocabulary: k-majority over corners of drawn pictures.

    python -m provenance.fingerprint.words.training [FILE]

The pictures are those that `embedders.descriptor.training.pictures` draws: no photograph is in it.
Source: Grana et al., "A fast approach for integrating ORB descriptors in the bag of words model",
2013 (k-means of binary descriptors, whose mean is the majority of each bit).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from provenance.fingerprint.embedders.descriptor.training.pictures import draw_group
from provenance.fingerprint.keypoints import load_finder
from provenance.fingerprint.words.vocabulary import VOCABULARY_FILE, WORDS, to_signs

GROUPS = 600
SEED = 3
SIDE_PX = 384
"""The drawn pictures are enlarged to it: corners of registered pictures are found at 512."""
CORNERS = 200
"""Of each picture."""
DESCRIPTORS = 200_000
ROUNDS = 8


def train(file: Path) -> None:
    """Draws the pictures, and writes the vocabulary whole."""
    find = load_finder()
    found = []
    for group in range(GROUPS):
        for pixels in draw_group(SEED, group):
            large = Image.fromarray(pixels).convert("L").resize((SIDE_PX, SIDE_PX))
            found.append(find(np.array(large), at_most=CORNERS).descriptors)
        if group % 50 == 0:
            print(f"{group} of {GROUPS} groups drawn", flush=True)
    descriptors = np.concatenate(found)
    random = np.random.default_rng(SEED)
    signs = to_signs(descriptors[random.permutation(len(descriptors))[:DESCRIPTORS]])
    words = _cluster(signs, random)
    partial = file.with_suffix(".partial")
    partial.write_bytes(np.packbits(words > 0, axis=1).tobytes())
    partial.replace(file)


def _cluster(signs: np.ndarray, random: np.random.Generator) -> np.ndarray:
    words = signs[:WORDS].copy()
    for number in range(ROUNDS):
        nearest = np.concatenate(
            [(part @ words.T).argmax(axis=1) for part in np.array_split(signs, 32)]
        )
        sums = np.zeros_like(words)
        np.add.at(sums, nearest, signs)
        words = np.where(sums >= 0, 1, -1).astype(np.float32)
        empty = np.bincount(nearest, minlength=WORDS) == 0
        words[empty] = signs[random.integers(0, len(signs), int(empty.sum()))]
        print(f"round {number}: {int(empty.sum())} empty", flush=True)
    return words


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="make the vocabulary of keypoint words")
    parser.add_argument("file", type=Path, nargs="?", default=VOCABULARY_FILE)
    train(parser.parse_args().file)


if __name__ == "__main__":
    main()
