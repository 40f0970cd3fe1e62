"""The error-correcting code under every mark: tail-biting, convolutional, rate 1/4.

Pure: bits in, bits out. A mark is read through compression and noise, where one carrier bit is
worth a fraction of a bit; a strong low-rate code with *soft* input recovers 96 bits from carriers
that are right only two times in three, where counting votes fails.

Conventions: a bit is bool; a soft value is a real number whose sign is the bit (positive: 1) and
whose magnitude is how sure the reader is, on any scale that is the same for all bits of a word.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

from provenance.errors import InputError

if TYPE_CHECKING:
    from provenance.types import BitArray, Float32Array

__all__ = ["CONSTRAINT_LENGTH", "GENERATORS", "RATE", "decode_soft", "encode_bits"]

_Real: TypeAlias = npt.NDArray[np.floating]

CONSTRAINT_LENGTH = 9
"""256 states: the longest constraint length whose Viterbi search stays at a few milliseconds."""

GENERATORS = (0o463, 0o535, 0o733, 0o745)
"""Generator polynomials in octal, newest bit first; free distance 24.

Source: Larsen, "Short convolutional codes with maximal free distance for rates 1/2, 1/3 and 1/4",
IEEE Trans. Inf. Theory 19(3), 1973. The unit test computes the distance anew.
"""

RATE = len(GENERATORS)
"""Coded bits per information bit."""

_MEMORY = CONSTRAINT_LENGTH - 1
_STATES = 1 << _MEMORY
_WRAP_STEPS = 6 * _MEMORY
"""Steps decoded again before and after a word, because a tail-biting word has no known first state.

Survivors merge within about five constraint lengths (Viterbi and Omura 1979, section 4.7); six
memories are 48 steps.
"""


def _branch_outputs() -> npt.NDArray[np.intp]:
    """(2, 128, 2) index 0..15 of the four bits sent on each branch of the trellis.

    A state holds the last eight bits, newest on top. Axes: new bit; pair of states that differ in
    their oldest bit only; that oldest bit. Both states of a pair lead to the same next state.
    """
    bit, pair, oldest = np.meshgrid(
        np.arange(2), np.arange(_STATES // 2), np.arange(2), indexing="ij"
    )
    register = (bit << _MEMORY) | (pair << 1) | oldest
    index = np.zeros(register.shape, dtype=np.intp)
    for generator in GENERATORS:
        index = (index << 1) | (np.bitwise_count(register & generator) & 1)
    return index


_BRANCHES = _branch_outputs()
_PATTERNS = (2.0 * ((np.arange(1 << RATE)[:, None] >> np.arange(RATE)[::-1]) & 1) - 1.0).astype(
    np.float32
)
"""(16, 4) the same four bits as ±1."""


def encode_bits(bits: BitArray) -> BitArray:
    """Encodes one word around a circle: its last bits are the state before its first.

    Args:
        bits: (L,) bool, L >= 8.

    Returns:
        (4 L,) bool; the four bits of step t stand at 4 t .. 4 t + 3.

    Raises:
        InputError: `bits` is shorter than the memory of the code.
    """
    if bits.ndim != 1 or bits.size < _MEMORY:
        raise InputError(f"a word to encode needs at least {_MEMORY} bits, not shape {bits.shape}")
    coded = np.zeros((bits.size, RATE), dtype=np.bool_)
    for column, generator in enumerate(GENERATORS):
        for delay in range(CONSTRAINT_LENGTH):
            if generator >> (_MEMORY - delay) & 1:
                coded[:, column] ^= np.roll(bits, delay)
    return coded.reshape(-1)


def decode_soft(soft: _Real) -> BitArray:
    """Finds the most likely words for soft coded bits (wrap-around Viterbi search).

    Words of one call are decoded side by side, so several readings cost little more than one.

    Args:
        soft: (B, 4 L) real, or (4 L,) for a single word.

    Returns:
        (B, L) bool, or (L,).

    Raises:
        InputError: The length is no multiple of 4, or too short.

    Source: Viterbi 1967; the circular extension is Cox and Sundberg, "An efficient adaptive
    circular Viterbi algorithm for decoding generalized tailbiting convolutional codes", 1994.
    """
    words = np.atleast_2d(soft)
    length = words.shape[-1] // RATE
    if words.ndim != 2 or words.shape[-1] % RATE or length < _MEMORY:
        raise InputError(f"soft coded bits must come as (B, 4 L) with L >= 8, not {soft.shape}")
    wrap = min(_WRAP_STEPS, length)
    decoded = _search(_gains(words, wrap))[:, wrap : wrap + length]
    return decoded if soft.ndim == 2 else decoded[0]


def _gains(words: _Real, wrap: int) -> Float32Array:
    """(T, B, 2, 128, 2) correlation of each step's four soft bits with each branch's bits."""
    steps = words.reshape(len(words), -1, RATE).astype(np.float32)
    around = np.concatenate([steps[:, -wrap:], steps, steps[:, :wrap]], axis=1)
    correlation = (around @ _PATTERNS.T).transpose(1, 0, 2)
    return np.ascontiguousarray(correlation[:, :, _BRANCHES])


def _search(gains: Float32Array) -> BitArray:
    """(B, T) bool bits of the best path through each word's trellis."""
    steps, batch = gains.shape[:2]
    metric = np.zeros((batch, 1, _STATES // 2, 2), dtype=np.float32)
    came_from_odd = np.empty((steps, batch, _STATES), dtype=np.bool_)
    for step in range(steps):
        candidates = gains[step] + metric
        even, odd = candidates[..., 0], candidates[..., 1]
        came_from_odd[step] = (odd > even).reshape(batch, _STATES)
        best = np.maximum(even, odd).reshape(batch, 1, _STATES // 2, 2)
        metric = best - best[:, :, :1, :1]  # keeps float32 exact over long words
    return _trace_back(came_from_odd, metric.reshape(batch, _STATES).argmax(axis=1))


def _trace_back(came_from_odd: BitArray, last_state: npt.NDArray[np.intp]) -> BitArray:
    steps, batch, _ = came_from_odd.shape
    bits = np.empty((batch, steps), dtype=np.bool_)
    rows = np.arange(batch)
    state = last_state
    for step in range(steps - 1, -1, -1):
        bits[:, step] = state >> (_MEMORY - 1)
        state = ((state << 1) & (_STATES - 1)) | came_from_odd[step, rows, state]
    return bits
