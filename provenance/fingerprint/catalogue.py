"""Which weights ``countermark models pull`` can bring, for which embedder."""

from __future__ import annotations

from dataclasses import dataclass

from provenance.errors import ConfigError
from provenance.fingerprint.pulling import RemoteFile

__all__ = ["CATALOGUE", "HUB", "Pullable", "find_for_embedder", "find_pullable"]

HUB = "https://huggingface.co"
"""Default address of the model hub; ``HF_ENDPOINT`` names another."""


@dataclass(frozen=True, slots=True)
class Pullable:
    """Weights of one embedder.

    Attributes:
        name: As ``models pull`` takes it; also the name of its folder.
        embedder: Entry point that reads the folder.
        licence: Of the weights, as their makers state it.
        kind: Of the space: copy or semantic.
        size: About how much comes down, for people.
        repository: On the hub, ``owner/name``; None where `addresses` are whole URLs.
        addresses: File names in the repository, or URLs.
    """

    name: str
    embedder: str
    licence: str
    kind: str
    size: str
    repository: str | None
    addresses: tuple[str, ...]

    def files(self, *, endpoint: str = HUB, revision: str = "main") -> tuple[RemoteFile, ...]:
        """What to fetch.

        Args:
            endpoint: Address of the hub.
            revision: Commit, tag or branch; used for hub repositories only.
        """
        if self.repository is None:
            return tuple(RemoteFile(url.rsplit("/", 1)[1], url) for url in self.addresses)
        base = f"{endpoint.rstrip('/')}/{self.repository}/resolve/{revision}"
        return tuple(RemoteFile(name, f"{base}/{name}") for name in self.addresses)


CATALOGUE: tuple[Pullable, ...] = (
    Pullable(
        name="clip",
        embedder="open_clip",
        licence="MIT",
        kind="semantic",
        size="600 MB",
        repository="laion/CLIP-ViT-B-32-laion2B-s34B-b79K",
        addresses=("open_clip_config.json", "open_clip_model.safetensors"),
    ),
    Pullable(
        name="sscd",
        embedder="sscd",
        licence="MIT",
        kind="copy",
        size="100 MB",
        repository=None,
        # Source: README.md of facebookresearch/sscd-copy-detection.
        addresses=(
            "https://dl.fbaipublicfiles.com/sscd-copy-detection/sscd_disc_mixup.torchscript.pt",
        ),
    ),
)


def find_pullable(name: str) -> Pullable:
    """The weights of that name.

    Raises:
        ConfigError: There are none.
    """
    for one in CATALOGUE:
        if one.name == name:
            return one
    known = ", ".join(one.name for one in CATALOGUE)
    raise ConfigError(f"there is no model {name!r} to pull; known: {known}")


def find_for_embedder(embedder: str) -> Pullable | None:
    """The weights that an embedder reads; None where none can be pulled."""
    return next((one for one in CATALOGUE if one.embedder == embedder), None)
