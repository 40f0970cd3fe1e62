"""The error-correcting code under every mark: tail-biting, convolutional, rate 1/4.

Pure: bits in, bits out. A mark is read through compression and noise, where one carrier bit is
worth a fraction of a bit; a strong low-rate code with *soft* input recovers 96 bits from carriers
that are right only two times in three, where counting votes fails.

Conventions: a bit is bool; a soft value is a real number whose sign is the bit (positive: 1) and
whose magnitude is how sure the reader is, on any scale that is the same for all bits of a word.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

from provenance.errors import InputError

if TYPE_CHECKING:
    from provenance.types import BitArray, Float32Array

__all__ = ["CONSTRAINT_LENGTH", "GENERATORS", "RATE", "decode_list", "decode_soft", "encode_bits"]

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
    length, wrap = _check_words(words)
    trellis = _search(_gains(words, wrap))
    decoded = _trace_back(trellis, np.arange(len(words)))[0][:, wrap : wrap + length]
    return decoded if soft.ndim == 2 else decoded[0]


def _check_words(words: _Real) -> tuple[int, int]:
    """Bits of each word, and steps decoded again before and after it.

    Raises:
        InputError: The length is no multiple of 4, or too short.
    """
    length = words.shape[-1] // RATE
    if words.ndim != 2 or words.shape[-1] % RATE or length < _MEMORY:
        raise InputError(f"soft coded bits must come as (B, 4 L) with L >= 8, not {words.shape}")
    return length, min(_WRAP_STEPS, length)


def decode_list(soft: _Real, count: int) -> BitArray:
    """Finds several likely words, for a tag to choose from.

    The best path through the trellis comes first. The others leave it once, where the branch that
    lost was closest to winning: what noise changes is nearly always one such detour.

    Args:
        soft: (4 L,) real.
        count: How many words, 1..L.

    Returns:
        (count, L) bool, most likely first.

    Raises:
        InputError: The length is no multiple of 4, or too short.

    Source: Seshadri and Sundberg, "List Viterbi decoding algorithms with applications", IEEE Trans.
    Communications 42(2/3/4), 1994, section III, cut off after the first detour.
    """
    length, wrap = _check_words(soft[None])
    trellis = _search(_gains(soft[None], wrap))
    only = np.zeros(1, dtype=np.intp)
    plain, states = _trace_back(trellis, only)
    best = plain[:, wrap : wrap + length]
    # One turn around the circle, with half a wrap of the future to judge its last steps by.
    steps = np.arange(length) + wrap + wrap // 2
    close = np.abs(trellis.odd_lead[steps, 0, states[0, steps]])
    detours = steps[np.argsort(close, kind="stable")[: count - 1]]
    bits, _ = _trace_back(trellis, np.zeros(len(detours), dtype=np.intp), detours)
    # A detour lies before its step: the turn that ends there holds all of it.
    first = np.maximum(detours + 1 - length, 0)
    places = (np.arange(length) + wrap - first[:, None]) % length + first[:, None]
    return np.concatenate([best, np.take_along_axis(bits, places, axis=1)])


def _gains(words: _Real, wrap: int) -> Float32Array:
    """(T, B, 2, 128, 2) correlation of each step's four soft bits with each branch's bits."""
    steps = words.reshape(len(words), -1, RATE).astype(np.float32)
    around = np.concatenate([steps[:, -wrap:], steps, steps[:, :wrap]], axis=1)
    correlation = (around @ _PATTERNS.T).transpose(1, 0, 2)
    return np.ascontiguousarray(correlation[:, :, _BRANCHES])


@dataclass(frozen=True, slots=True)
class _Trellis:
    """The survivors of a search.

    Attributes:
        odd_lead: (T, B, 256) float32, by how much each state's odd predecessor won over its even
            one; negative where it lost.
        last: (B,) best last state.
    """

    odd_lead: Float32Array
    last: npt.NDArray[np.intp]


def _search(gains: Float32Array) -> _Trellis:
    """Finds the best path to every state at every step."""
    steps, batch = gains.shape[:2]
    metric = np.zeros((batch, 1, _STATES // 2, 2), dtype=np.float32)
    odd_lead = np.empty((steps, batch, _STATES), dtype=np.float32)
    for step in range(steps):
        candidates = gains[step] + metric
        even, odd = candidates[..., 0], candidates[..., 1]
        np.subtract(odd, even, out=odd_lead[step].reshape(even.shape))
        best = np.maximum(even, odd).reshape(batch, 1, _STATES // 2, 2)
        metric = best - best[:, :, :1, :1]  # keeps float32 exact over long words
    return _Trellis(odd_lead, metric.reshape(batch, _STATES).argmax(axis=1))


def _trace_back(
    trellis: _Trellis,
    words: npt.NDArray[np.intp],
    detours: npt.NDArray[np.intp] | None = None,
) -> tuple[BitArray, npt.NDArray[np.intp]]:
    """Follows survivors back from the best last state.

    Args:
        trellis: What `_search` found.
        words: (R,) which word of the batch each row follows.
        detours: (R,) step at which each row takes the branch that lost.

    Returns:
        (R, T) bits, and (R, T) the states that they lead to.
    """
    steps = len(trellis.odd_lead)
    states = np.empty((len(words), steps), dtype=np.intp)
    state = trellis.last[words]
    for step in range(steps - 1, -1, -1):
        states[:, step] = state
        odd = trellis.odd_lead[step, words, state] > 0
        if detours is not None:
            odd = odd ^ (detours == step)
        state = ((state << 1) & (_STATES - 1)) | odd
    return (states >> (_MEMORY - 1)).astype(np.bool_), states
