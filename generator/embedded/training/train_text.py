# mypy: disable-error-code="no-untyped-call,attr-defined,arg-type,operator,no-any-return"
# NOTE: torch and transformers annotate only some of their functions.
"""Teaches the text encoder what captions say, before any picture is seen; resumable by rerunning.

A caption is written from a scene's facts, so the facts can be asked back: which thing, which
colour, what time of day. Captions cost nothing, so in a few minutes the encoder reads hundreds of
thousands, and the denoiser, which sees far fewer pictures, starts with words that mean something.
The encoder is then frozen.

Usage: ``python -m generator.embedded.training.train_text RUN``
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as nnf
from torch import nn
from transformers import CLIPTextModel

from generator.embedded.training.architecture import (
    TEXT_WIDTH,
    make_text_encoder,
    make_tokenizer,
)
from generator.embedded.training.captions import (
    Colour,
    Ground,
    SceneSpec,
    Side,
    Split,
    Thing,
    Time,
    Water,
    Weather,
    add_filler,
    sample_spec,
    write_caption,
)
from generator.embedded.training.checkpoints import (
    learning_rate,
    load_checkpoint,
    save_checkpoint,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from enum import StrEnum

    from transformers import CLIPTokenizer

__all__ = ["load_text_encoder", "train"]

_PEAK_RATE = 2e-3
_FILLER_SHARE = 0.15
_REPORT_EVERY = 200
# Captions are a quarter as long as the context. The padding behind them matters less, but the
# denoiser sees it, so it is seen here too.
_FULL_LENGTH_EVERY = 4
_NOTHING = "nothing"
"""Answer about a subject where a scene has none."""

_KINDS: Mapping[str, type[StrEnum]] = {
    "thing": Thing,
    "colour": Colour,
    "side": Side,
    "time": Time,
    "weather": Weather,
    "ground": Ground,
    "water": Water,
}
_FLAGS = ("mountains", "trees", "luminary")
ANSWERS: Mapping[str, Sequence[str]] = {
    **{name: (_NOTHING, *kind) for name, kind in _KINDS.items()},
    **dict.fromkeys(_FLAGS, ("no", "yes")),
}


def _facts(spec: SceneSpec) -> list[int]:
    """Answers the number of the right answer to each question of `ANSWERS`."""
    subject = spec.subject
    right = {
        "thing": _NOTHING if subject is None else subject.thing,
        "colour": _NOTHING if subject is None else subject.colour,
        "side": _NOTHING if subject is None else subject.side,
        "time": spec.time,
        "weather": spec.weather,
        "ground": spec.ground,
        "water": spec.water,
        "mountains": "yes" if spec.has_mountains else "no",
        "trees": "yes" if spec.has_trees else "no",
        "luminary": "yes" if spec.shows_luminary else "no",
    }
    return [list(answers).index(right[name]) for name, answers in ANSWERS.items()]


class _Examiner(nn.Module):
    """Reads the answers from the hidden states behind the caption's end."""

    def __init__(self) -> None:
        super().__init__()
        self.heads = nn.ModuleList(
            nn.Linear(TEXT_WIDTH, len(answers)) for answers in ANSWERS.values()
        )

    def forward(self, hidden: torch.Tensor, ids: torch.Tensor, eos: int) -> list[torch.Tensor]:
        """Answers logits for each question.

        Args:
            hidden: Last hidden states, (N, 77, 128).
            ids: Token ids, (N, 77).
            eos: Id that ends a caption and pads it.
        """
        # Causal attention: only the end and the padding behind it have read the whole caption.
        behind = (ids == eos).unsqueeze(-1).to(hidden.dtype)
        pooled = (hidden * behind).sum(1) / behind.sum(1)
        return [head(pooled) for head in self.heads]


def _take(
    rng: np.random.Generator, tokenizer: CLIPTokenizer, count: int, padding: str
) -> tuple[torch.Tensor, torch.Tensor]:
    specs = [sample_spec(rng, Split.TRAIN) for _ in range(count)]
    captions = [write_caption(rng, spec) for spec in specs]
    captions = [
        add_filler(rng, caption) if rng.random() < _FILLER_SHARE else caption
        for caption in captions
    ]
    ids = tokenizer(
        captions,
        padding=padding,
        truncation=True,
        max_length=tokenizer.model_max_length,
        return_tensors="pt",
    ).input_ids
    return ids, torch.tensor([_facts(spec) for spec in specs])


def train(run: Path, *, steps: int, batch: int, seed: int) -> None:
    """Trains for ``steps`` and writes ``run/text.pt``; one that is there is kept."""
    target = run / "text.pt"
    if target.exists():
        return
    torch.manual_seed(seed)
    rng = np.random.default_rng([seed, 77])
    tokenizer = make_tokenizer(run / "tokenizer")
    encoder, examiner = make_text_encoder(tokenizer), _Examiner()
    weights = [*encoder.parameters(), *examiner.parameters()]
    optimizer = torch.optim.AdamW(weights, betas=(0.9, 0.99), weight_decay=1e-2)
    began = time.monotonic()
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, steps=steps, peak=_PEAK_RATE)
        padding = "longest" if step % _FULL_LENGTH_EVERY else "max_length"
        ids, facts = _take(rng, tokenizer, batch, padding)
        hidden = encoder(ids).last_hidden_state
        answers = examiner(hidden, ids, tokenizer.eos_token_id)
        losses = [
            nnf.cross_entropy(answer, facts[:, index]) for index, answer in enumerate(answers)
        ]
        optimizer.zero_grad()
        torch.stack(losses).sum().backward()
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        if (step + 1) % _REPORT_EVERY == 0 or step + 1 == steps:
            right = [
                float((answer.argmax(1) == facts[:, index]).float().mean())
                for index, answer in enumerate(answers)
            ]
            shown = " ".join(
                f"{name} {share:.2f}" for name, share in zip(ANSWERS, right, strict=True)
            )
            print(f"{step + 1} {shown} {time.monotonic() - began:.0f} s", flush=True)
    save_checkpoint(target, {"step": steps, "model": encoder.state_dict()})


def load_text_encoder(run: Path, tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """Loads what `train` wrote, or a folder of transformers, frozen."""
    if (run / "config.json").exists():
        exported = CLIPTextModel.from_pretrained(run, local_files_only=True, dtype=torch.float32)
        return exported.eval().requires_grad_(requires_grad=False)
    state = load_checkpoint(run / "text.pt")
    if state is None:
        raise SystemExit(f"No text.pt in {run}: run train_text first.")
    encoder = make_text_encoder(tokenizer)
    encoder.load_state_dict(state["model"])
    return encoder.eval().requires_grad_(requires_grad=False)


def main() -> None:
    """Reads the command line and trains."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    train(options.run, steps=options.steps, batch=options.batch, seed=options.seed)


if __name__ == "__main__":
    main()
