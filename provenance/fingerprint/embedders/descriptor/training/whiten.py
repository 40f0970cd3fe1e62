"""The last layer, by linear algebra: directions in which edits move a picture count for less.

Learned whitening (Mikolajczyk and Matas 2007; Radenovic et al. 2018): the covariance of the
differences between two edits of one picture is scaled to a sphere. Learnt on drawn pictures of
another seed than the network's; a quarter of them, set aside, tells how strongly to apply it.
Writes the file that is shipped.

python -m provenance.fingerprint.embedders.descriptor.training.whiten RUN/checkpoint.pt FOLDER OUT
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from provenance.fingerprint.embedders.descriptor.training.edits import Editor, make_levels
from provenance.fingerprint.embedders.descriptor.training.export import describe, fold
from provenance.fingerprint.embedders.descriptor.training.network import DescriptorNetwork
from provenance.fingerprint.embedders.descriptor.training.pictures import list_shards
from provenance.fingerprint.embedders.descriptor.training.train import SIDE_PX
from provenance.fingerprint.embedders.descriptor.weights import write_weights

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from provenance.types import Float32Array

__all__ = ["encode_edits", "learn", "recall_apart"]

DIFFICULTY = 0.7
"""Edits that hide a picture altogether only add noise here."""
EDITS = 4
"""Heavy edits of each picture, besides the light one."""
STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25)
RATE = 1e-4


def encode_edits(
    network: DescriptorNetwork, drawn: NDArray[np.uint8], *, seed: int
) -> Float32Array:
    """(N - 100, 1 + EDITS, 512): mean answers over the eight turns, the light edit first.

    Args:
        network: In evaluation mode.
        drawn: (N, 192, 192, 3); the first hundred are only pasted upon.
        seed: Settles the edits.
    """
    editor, rows = Editor(seed=seed), []
    editor.difficulty = DIFFICULTY
    pictures = torch.from_numpy(drawn).permute(0, 3, 1, 2).contiguous()
    others = make_levels(pictures[:100])[1]
    for start in range(100, len(pictures), 50):
        part = pictures[start : start + 50]
        levels = make_levels(part)
        views = [editor.lightly(levels, SIDE_PX)]
        views += [editor.heavily(levels, others, SIDE_PX) for _ in range(EDITS)]
        rows.append(torch.stack([_mean_of_turns(network, view * 2 - 1) for view in views], 1))
    answer: Float32Array = torch.cat(rows).numpy()
    return answer


def _mean_of_turns(network: DescriptorNetwork, seen: torch.Tensor) -> torch.Tensor:
    turns = [seen.rot90(k, (2, 3)) for k in range(4)]
    turns += [turn.flip(3) for turn in turns]
    with torch.inference_mode():
        return torch.stack([network(turn) for turn in turns]).mean(0)


def learn(vectors: Float32Array, strength: float) -> tuple[Float32Array, Float32Array]:
    """Matrix (512, 512) and offset (512,) to be applied as ``x @ matrix.T + offset``.

    Args:
        vectors: Of `encode_edits`.
        strength: 0 only centres; 1 makes the spread within pictures a sphere.
    """
    mean = vectors[:, 0].mean(axis=0)
    differences = (vectors[:, 1:] - vectors[:, :1]).reshape(-1, vectors.shape[2])
    within = differences.T @ differences / len(differences)
    values, directions = np.linalg.eigh(within.astype(np.float64))
    # A floor of a twentieth of the mean: directions in which nothing moves are not trusted.
    scale = np.maximum(values, values.mean() / 20) ** (-strength / 2)
    matrix = (directions * scale) @ directions.T
    matrix /= np.abs(np.linalg.eigvalsh(matrix)).mean()
    return matrix.astype(np.float32), (-(mean @ matrix.T)).astype(np.float32)


def recall_apart(vectors: Float32Array, matrix: Float32Array, offset: Float32Array) -> float:
    """Share of heavy edits nearer than all but 1e-4 of the pairs of different pictures."""
    moved = vectors @ matrix.T + offset
    moved /= np.linalg.norm(moved, axis=2, keepdims=True)
    cosines = np.einsum("ned,md->nem", moved[:, 1:], moved[:, 0])
    own = np.eye(len(moved), dtype=bool)
    strangers = cosines.transpose(0, 2, 1)[~own]
    threshold = np.quantile(strangers, 1 - RATE)
    return float((cosines.transpose(0, 2, 1)[own] > threshold).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description="finish the descriptor's weights")
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("pictures", type=Path, help="folder of `pictures`, of another seed")
    parser.add_argument("target", type=Path)
    parser.add_argument("--seed", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(1)
    kept = torch.load(given.checkpoint, weights_only=True)
    network = DescriptorNetwork()
    network.load_state_dict(kept["network"])
    network.eval()
    drawn = np.concatenate([np.load(shard) for shard in list_shards(given.pictures)])
    told = encode_edits(network, drawn, seed=given.seed)
    known, unseen = told[: 3 * len(told) // 4], told[3 * len(told) // 4 :]
    scores = {s: recall_apart(unseen, *learn(known, s)) for s in STRENGTHS}
    best = max(scores, key=lambda s: scores[s])
    print(f"recall at 1e-4 on drawn pictures by strength: {scores}; {best} is taken")
    matrix, offset = learn(known, best)
    tensors = fold(network) | {"project.weight": matrix, "project.bias": offset}
    further = {"steps": str(kept["state"]["step"]), "pairs": str(kept["state"]["pictures"])}
    write_weights(given.target, tensors, describe() | further | {"whitening": str(best)})


if __name__ == "__main__":
    main()
