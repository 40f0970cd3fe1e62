"""A claim and pictures to sign, for tests."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from provenance.imaging import encode_image
from provenance.manifest.claims import Claim, SoftwareAgent
from provenance.manifest.label import build_xmp
from provenance.testing.pictures import natural_picture
from provenance.types import (
    EncodedImage,
    MediaType,
    ModelRef,
    SafetyPolicy,
    SafetyReport,
    SoftBinding,
)

__all__ = ["sample_claim", "unsigned_picture"]


def sample_claim(**changes: Any) -> Claim:
    """A claim as the generator makes it, with fields replaced by `changes`."""
    claim = Claim(
        generator=SoftwareAgent("countermark", "0.1.0"),
        when=datetime(2026, 11, 23, 12, 0, tzinfo=UTC),
        model=ModelRef(
            "example-org/example-model", "ab" * 20, "cd" * 32, licence="creativeml-openrail-m"
        ),
        pipeline=SoftwareAgent("StableDiffusionPipeline", "0.42.0"),
        watermark=SoftBinding("org.countermark.dwtdctsvd.1", "1*3f2a9c0d11e87b46"),
        watermark_agent=SoftwareAgent("dwtDctSvd", "1"),
        fingerprints=(SoftBinding("org.countermark.pdq.1", "5a" * 32),),
        parameters={"seed": 2**63 - 1, "steps": 20, "guidance": 7.5},
        prompt_hash="ef" * 32,
        safety=SafetyReport(
            "example-checker", "1", {"nsfw": 0.012}, {"nsfw": 0.8}, SafetyPolicy.BLOCK
        ),
    )
    return replace(claim, **changes)


def unsigned_picture(
    media_type: MediaType = MediaType.PNG, *, side_px: int = 96, seed: int = 7
) -> EncodedImage:
    """An encoded picture with the unsigned label, without a manifest."""
    xmp = build_xmp(ai_system="example-org/example-model", creator_tool="countermark 0.1.0")
    return encode_image(natural_picture(side_px, side_px, seed=seed), media_type, xmp=xmp)
