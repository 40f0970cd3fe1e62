"""The start-up self-test: does signing and reading behave, in this process, with these keys?

The engine takes unknown settings and unusable anchors in silence, so the only way to know that
the safeguards are on is to try them.
"""

from __future__ import annotations

import time
import zlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np

from provenance.errors import SigningError
from provenance.imaging import encode_image
from provenance.manifest import sdk
from provenance.manifest.claims import Claim, SoftwareAgent
from provenance.manifest.loopback import listen_and_count
from provenance.manifest.reading import read_manifest
from provenance.types import (
    Credential,
    Integrity,
    MediaType,
    ModelRef,
    RasterImage,
    SignerTrust,
    SoftBinding,
    SourceClaim,
)

if TYPE_CHECKING:
    from provenance.manifest.signing import ManifestSigner
    from provenance.manifest.trust import TrustSettings
    from provenance.types import SignedAsset

__all__ = ["remote_reference", "run_self_test"]

_REMOTE_ANSWER_S = 5.0
"""Reading without the network takes about a millisecond; a busy start has taken 1.4 s. A fetch that
is not answered takes longer, and one that is shows in the connections."""


def run_self_test(signer: ManifestSigner, *, trust: TrustSettings) -> None:
    """Signs a small picture, reads it, tampers with it, and offers a remote manifest.

    Args:
        signer: As it will be used.
        trust: As readers will use it. A development chain must be trusted by it; another
            certificate may be unlisted, because its owner may not need this deployment's lists.

    Raises:
        SigningError: Something does not behave; the message says what.
    """
    asset = signer.sign(encode_image(_picture(), MediaType.PNG), _claim())
    _check_signed(asset, trust, is_development=signer.signer.is_development)
    _check_tampered(asset, trust)
    _check_remote(trust)


def _check_signed(asset: SignedAsset, trust: TrustSettings, *, is_development: bool) -> None:
    report = read_manifest(asset.image.data, asset.image.media_type, trust=trust)
    _require(report.integrity is Integrity.INTACT, "a freshly signed picture reads as changed")
    _require(report.claim is SourceClaim.FULLY_AI, "the signed claim does not come back")
    _require(not report.ambiguous, "the actions are not in the created assertions")
    _require(report.soft_bindings == _claim().soft_bindings, "the soft bindings do not come back")
    if is_development:
        _require(
            report.signer is SignerTrust.TRUSTED,
            "the development chain is not trusted here; add keys/dev_root.pem to the anchors",
        )


def _check_tampered(asset: SignedAsset, trust: TrustSettings) -> None:
    data = bytearray(asset.image.data)
    # The last byte of the last IDAT chunk before IEND (12 bytes) and its own checksum (4 bytes):
    # part of the zlib stream's checksum, which is under the hard binding like every other byte.
    data[-17] ^= 1
    report = read_manifest(bytes(data), asset.image.media_type, trust=trust)
    _require(
        report.integrity is Integrity.CONTENT_CHANGED
        and "assertion.dataHash.mismatch" in report.codes,
        "a changed byte is not noticed",
    )


def _check_remote(trust: TrustSettings) -> None:
    with listen_and_count() as listener:
        picture = encode_image(_picture(), MediaType.PNG, xmp=remote_reference(listener.port))
        start = time.monotonic()
        report = read_manifest(picture.data, picture.media_type, trust=trust)
        elapsed = time.monotonic() - start
    _require(
        report.credential is Credential.REMOTE_NOT_FETCHED,
        f"a remote reference reads as {report.credential}",
    )
    _require(not listener.connections, "reading a picture opened a network connection")
    _require(
        elapsed < _REMOTE_ANSWER_S, f"a remote reference held the reader up for {elapsed:.1f} s"
    )


def remote_reference(port: int) -> bytes:
    """XMP that points at a manifest on loopback.

    Source: C2PA 2.5 "External Manifests": ``dcterms:provenance``.
    """
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/">'
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description rdf:about="" xmlns:dcterms="http://purl.org/dc/terms/" '
        f'dcterms:provenance="http://127.0.0.1:{port}/manifest.c2pa"/>'
        "</rdf:RDF></x:xmpmeta>"
    ).encode("ascii")


def _picture() -> RasterImage:
    ramp = np.arange(64, dtype=np.uint8)
    pixels = np.stack(np.broadcast_arrays(ramp[:, None] * 4, ramp[None, :] * 4, np.uint8(128)), 2)
    return RasterImage(np.ascontiguousarray(pixels, dtype=np.uint8))


def _claim() -> Claim:
    digest = f"{zlib.crc32(b'self-test'):08x}" * 8
    return Claim(
        generator=SoftwareAgent("countermark self-test", sdk.engine_version()),
        when=datetime.now(UTC).replace(microsecond=0),
        model=ModelRef("self-test", f"sha256:{digest}", digest),
        pipeline=SoftwareAgent("countermark self-test", "1"),
        watermark=SoftBinding("org.countermark.selftest.1", "1*0123456789abcdef"),
        watermark_agent=SoftwareAgent("self-test", "1"),
        fingerprints=(SoftBinding("org.countermark.selftest.2", "0f" * 32),),
    )


def _require(condition: bool, problem: str) -> None:  # noqa: FBT001  a predicate reads best so
    if not condition:
        raise SigningError(
            f"self-test failed: {problem}; nothing is signed until this is repaired "
            "(countermark keys doctor says more)"
        )
