"""One installation with a picture, seen through the C2PA Soft Binding Resolution API."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING

from deliveries import make_home
from foreign_maker import ForeignMaker
from PIL import Image

from provenance.imaging import encode_image
from provenance.manifest.heal import remove_stores
from provenance.types import MediaType, RasterImage, Scope
from registry.wiring import open_api_keys

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["FOREIGN", "LATTICE", "PDQ", "World", "png_of", "resaved", "wire"]

LATTICE, PDQ = "org.countermark.lattice.1", "org.countermark.pdq.1"
FOREIGN = "com.example.mark.1"


def wire(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def png_of(raster: RasterImage) -> bytes:
    return encode_image(raster, MediaType.PNG).data


def resaved(data: bytes, quality: int = 85) -> bytes:
    out = io.BytesIO()
    Image.open(io.BytesIO(data)).convert("RGB").save(out, "JPEG", quality=quality)
    return out.getvalue()


class World:
    """One installation, its picture, its API."""

    def __init__(self, folder: Path, environ: Mapping[str, str] | None = None) -> None:
        self.home = make_home(folder, environ)
        self.settings = self.home.settings
        self.delivery = self.home.deliver("a red house")
        self.keys = open_api_keys(self.settings)
        self.storer = self.key(Scope.STORE)
        self.maker = ForeignMaker()

    def key(self, *scopes: Scope) -> dict[str, str]:
        key, text = self.keys.create("k", list(scopes))
        return {"Authorization": f"Bearer {text}", "x-test-id": key.id}

    @property
    def label(self) -> str:
        return self.delivery.asset.manifest_label

    @property
    def store(self) -> bytes:
        return self.delivery.asset.manifest_store

    @property
    def mark(self) -> str:
        return self.delivery.asset.soft_bindings[0].value

    @property
    def pdq(self) -> str:
        return self.delivery.asset.soft_bindings[1].value

    @property
    def stripped(self) -> bytes:
        return remove_stores(self.delivery.asset.image.data, MediaType.PNG)
