"""What happens to pictures on their way through the world, done to one delivered file."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from provenance.imaging import decode_image, encode_image
from provenance.manifest.heal import heal, insert_store, split_shell
from provenance.types import EncodedImage, MediaType, RasterImage

if TYPE_CHECKING:
    from collections.abc import Callable

    from provenance.types import SignedAsset

__all__ = ["ATTACKS", "Attack"]


@dataclass(frozen=True, slots=True)
class Attack:
    """One thing that is done to a delivered file.

    Attributes:
        name: For the table.
        story: What happened, in a sentence a visitor understands.
        apply: From the delivered asset to the attacked file.
    """

    name: str
    story: str
    apply: Callable[[SignedAsset], EncodedImage]


def _pixels(asset: SignedAsset) -> Image.Image:
    return Image.fromarray(decode_image(asset.image.data).pixels)


def _save(picture: Image.Image, file_format: str, quality: int = 0) -> bytes:
    out = io.BytesIO()
    picture.save(out, file_format, **({"quality": quality} if quality else {}))
    return out.getvalue()


def keep(asset: SignedAsset) -> EncodedImage:
    """The file as it was delivered."""
    return asset.image


def strip_metadata(asset: SignedAsset) -> EncodedImage:
    """Removes every byte that is not the picture; the compressed pixels stay as they are."""
    # A plain file of the same size lends its header.
    plain = split_shell(_save(_pixels(asset), "PNG"), MediaType.PNG)
    bare = heal(asset.image.data, MediaType.PNG, head=plain.head, tail=plain.tail)
    return EncodedImage(bare, MediaType.PNG)


def save_as_jpeg(asset: SignedAsset) -> EncodedImage:
    """Saves again as JPEG of quality 60, as messengers do."""
    return EncodedImage(_save(_pixels(asset), "JPEG", 60), MediaType.JPEG)


def shrink(asset: SignedAsset) -> EncodedImage:
    """Resizes to 75 %, as content systems do."""
    picture = _pixels(asset)
    size = (picture.width * 3 // 4, picture.height * 3 // 4)
    return EncodedImage(_save(picture.resize(size, Image.Resampling.LANCZOS), "PNG"), MediaType.PNG)


def change_one_pixel(asset: SignedAsset) -> EncodedImage:
    """Changes one pixel and keeps the manifest in place."""
    pixels = decode_image(asset.image.data).pixels.copy()
    pixels[pixels.shape[0] // 2, pixels.shape[1] // 2] ^= 0x40
    changed = encode_image(RasterImage(pixels), MediaType.PNG)
    return _with_shell_of(asset, changed)


def move_manifest(asset: SignedAsset) -> EncodedImage:
    """Puts our manifest into a picture that we did not make."""
    height, width = decode_image(asset.image.data).pixels.shape[:2]
    stranger = encode_image(_draw_strange_picture(width, height), MediaType.PNG)
    moved = insert_store(stranger.data, MediaType.PNG, asset.manifest_store)
    return EncodedImage(moved, MediaType.PNG)


def _with_shell_of(asset: SignedAsset, picture: EncodedImage) -> EncodedImage:
    shell = split_shell(asset.image.data, asset.image.media_type)
    wrapped = heal(picture.data, picture.media_type, head=shell.head, tail=shell.tail)
    return EncodedImage(wrapped, picture.media_type)


def _draw_strange_picture(width: int, height: int) -> RasterImage:
    """Interference rings: visibly no picture of the model, drawn without any of our marks."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    waves = [np.hypot(x - cx * width, y - cy * height) for cx, cy in ((0.2, 0.3), (0.8, 0.7))]
    rings = np.stack([np.sin(waves[0] / 9), np.sin(waves[1] / 7), np.sin(sum(waves) / 23)], axis=2)
    return RasterImage((127.5 + 100 * rings).astype(np.uint8))


ATTACKS: tuple[Attack, ...] = (
    Attack("as delivered", "the file as the generator handed it out", keep),
    Attack("metadata stripped", "an upload removed everything but the picture", strip_metadata),
    Attack("saved as JPEG 60", "a messenger re-compressed it", save_as_jpeg),
    Attack("resized to 75 %", "a website shrank it", shrink),
    Attack(
        "one pixel changed", "somebody touched one pixel and kept the manifest", change_one_pixel
    ),
    Attack("manifest moved", "our manifest put into somebody else's picture", move_manifest),
)
"""In the order of the table; the first is no attack."""
