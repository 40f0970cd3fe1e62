"""A tiny CLIP folder with random weights, in the layout that the hub has."""

from __future__ import annotations

import json
from pathlib import Path

TINY = {
    "embed_dim": 24,
    "vision_cfg": {
        "image_size": 32,
        "layers": 2,
        "width": 32,
        "head_width": 16,
        "patch_size": 8,
    },
    "text_cfg": {"context_length": 8, "vocab_size": 50, "width": 16, "heads": 2, "layers": 1},
}


def write_folder(folder: Path, *, seed: int, preprocess: dict | None = None) -> Path:
    """A folder in the hub's layout, with random weights."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(seed)
    folder.mkdir()
    save_file(open_clip.CLIP(**TINY).state_dict(), folder / "open_clip_model.safetensors")
    config = {"model_cfg": TINY, "preprocess_cfg": preprocess or {"size": 32}}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    return folder
