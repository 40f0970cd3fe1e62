"""A signed file by digests and sizes, as records keep it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provenance.imaging import DEFAULT_LIMITS, decode_image, hash_pixels
from provenance.manifest.heal import split_shell
from provenance.types import AssetInfo

if TYPE_CHECKING:
    from provenance.imaging import ImageLimits
    from provenance.types import SignedAsset

__all__ = ["describe_asset"]


def describe_asset(
    asset: SignedAsset, *, keep_shell: bool = True, limits: ImageLimits = DEFAULT_LIMITS
) -> AssetInfo:
    """What a record says of the delivered file.

    Args:
        asset: The signed file.
        keep_shell: Whether to keep what heals stripped copies: all bytes around the picture, its
            metadata among them.
        limits: On the picture.

    Raises:
        ImageDecodeError: The file does not decode.
    """
    decoded = decode_image(asset.image.data, limits=limits)
    head = tail = b""
    if keep_shell:
        head, _, tail = split_shell(asset.image.data, asset.image.media_type)
    return AssetInfo(
        sha256=asset.sha256,
        pixel_sha256=hash_pixels(decoded),
        media_type=asset.image.media_type,
        width_px=decoded.width_px,
        height_px=decoded.height_px,
        size_bytes=len(asset.image.data),
        shell_head=head,
        shell_tail=tail,
    )
