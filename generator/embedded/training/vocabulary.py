"""The words that the bundled model knows, as byte-pair files for CLIP's tokenizer.

Each word of the vocabulary becomes exactly one token. Any other text falls apart into shorter
pieces, at worst single bytes, so no prompt of a user is ever refused.
"""

from __future__ import annotations

import json
from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["BOS", "EOS", "MAX_TOKENS", "WORDS", "learn_merges", "list_tokens", "write_tokenizer"]

BOS = "<|startoftext|>"
EOS = "<|endoftext|>"
# CLIP's own context length; prompt tools of the Stable Diffusion world count on 77.
MAX_TOKENS = 77
_END = "</w>"

_WORDS_BY_THEME = {
    "function words and punctuation": (
        "a an the of in on at by with and under over near behind beside before above below to "
        "from no without very some two three many few it is there stands floats , . -"
    ),
    "places in the picture": (
        "left right centre center middle side foreground background distance distant far"
    ),
    "kinds of picture": (
        "photo photograph picture image painting drawing view scene landscape art"
    ),
    "objects": (
        "house cottage home cabin tree tower lighthouse boat sailboat ship balloon hot air "
        "flower blossom tent"
    ),
    "colours": (
        "red orange yellow golden green blue purple violet pink white black brown grey gray "
        "teal dark light bright pale colourful colorful deep crimson emerald"
    ),
    "ground": (
        "hill hills field fields meadow grass grassy beach sand sandy desert dune dunes snow "
        "snowy plain heather lavender wheat valley ground island forest wood woods"
    ),
    "water": ("lake sea ocean river water shore coast waves calm pond bay reflection"),
    "relief": ("mountain mountains peak peaks range ridge cliff rock rocks rocky"),
    "sky": ("sky sun moon star stars cloud clouds cloudy clear overcast horizon rainbow"),
    "time of day and year": (
        "day daytime noon morning dawn sunrise evening dusk sunset night midnight starry "
        "moonlight sunlight sunny afternoon summer winter autumn spring"
    ),
    "weather": (
        "fog foggy mist misty rain rainy storm stormy snowfall snowing raining haze hazy "
        "weather wind windy"
    ),
    "size and mood": (
        "big large small little tall tiny huge high low round old new quiet peaceful "
        "beautiful lonely wide open single alone lit glowing shining warm cold soft trees "
        "houses boats flowers balloons towers tents full falling"
    ),
}
WORDS: tuple[str, ...] = tuple(sorted({*" ".join(_WORDS_BY_THEME.values()).split()}))


def _byte_alphabet() -> list[str]:
    """Answers GPT-2's printable stand-in for each byte value, in order of the bytes.

    Source: openai/gpt-2 `encoder.py`, bytes_to_unicode; the tokenizers library's ByteLevel.
    """
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    spare = iter(range(256, 512))
    return [chr(byte if byte in printable else next(spare)) for byte in range(256)]


def _merge(symbols: tuple[str, ...], pair: tuple[str, str]) -> tuple[str, ...]:
    merged: list[str] = []
    for symbol in symbols:
        if merged and (merged[-1], symbol) == pair:
            merged[-1] += symbol
        else:
            merged.append(symbol)
    return tuple(merged)


def learn_merges(words: Sequence[str]) -> list[tuple[str, str]]:
    """Learns byte-pair merges until every word is one symbol; ties go by alphabet.

    Source: Sennrich, Haddow, Birch, "Neural Machine Translation of Rare Words with Subword
    Units" (2016), algorithm 1, run to its end.
    """
    splits = [(*word[:-1], word[-1] + _END) for word in words]
    merges: list[tuple[str, str]] = []
    while any(len(symbols) > 1 for symbols in splits):
        counts = Counter(pair for symbols in splits for pair in pairwise(symbols))
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        merges.append(best)
        splits = [_merge(symbols, best) for symbols in splits]
    return merges


def list_tokens(merges: Sequence[tuple[str, str]]) -> list[str]:
    """Answers all tokens in order of their ids: bytes, merges, start, end (CLIP's order)."""
    alphabet = _byte_alphabet()
    endings = [symbol + _END for symbol in alphabet]
    joined = dict.fromkeys(left + right for left, right in merges)
    return [*alphabet, *endings, *joined, BOS, EOS]


def write_tokenizer(folder: Path) -> None:
    """Writes vocab.json, merges.txt and the configuration that CLIPTokenizer reads."""
    folder.mkdir(parents=True, exist_ok=True)
    merges = learn_merges(WORDS)
    vocabulary = {token: index for index, token in enumerate(list_tokens(merges))}
    lines = ["#version: 0.2", *(f"{left} {right}" for left, right in merges)]
    settings = {
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": MAX_TOKENS,
        "bos_token": BOS,
        "eos_token": EOS,
        "unk_token": EOS,
        "pad_token": EOS,
    }
    (folder / "vocab.json").write_text(
        json.dumps(vocabulary, ensure_ascii=False, indent=0) + "\n", encoding="utf-8"
    )
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(
        json.dumps(settings, indent=2) + "\n", encoding="utf-8"
    )
