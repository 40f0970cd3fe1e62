"""W7: signs a claim into an encoded image, and answers only what it has read back.

The bytes that leave `ManifestSigner.sign` were parsed and validated again, from scratch,
by the reader that a stranger would use.
"""

from __future__ import annotations

import hashlib
import logging
from enum import StrEnum
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from provenance.errors import ConfigError, SigningError, TimestampError
from provenance.manifest import sdk
from provenance.manifest.attestation import build_attestation
from provenance.manifest.claims import (
    IngredientState,
    build_manifest,
    describe_generator,
    describe_ingredients,
)
from provenance.manifest.reading import read_manifest
from provenance.manifest.source_types import classify_source_type
from provenance.manifest.trust import no_trust
from provenance.types import (
    WRITABLE_MEDIA_TYPES,
    Credential,
    EncodedImage,
    History,
    Integrity,
    ManifestReport,
    MediaType,
    SignedAsset,
    SigningTime,
    SourceClaim,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from provenance.interfaces import Signer
    from provenance.manifest.attestation import Attestation
    from provenance.manifest.claims import Claim, Ingredient, SoftwareAgent

__all__ = ["ManifestSigner", "TimestampPolicy"]

logger = logging.getLogger(__name__)

DEFAULT_TSA_TIMEOUT_S = 10.0
"""Public authorities answer in well under a second; a generator can wait for ten."""


class TimestampPolicy(StrEnum):
    """What happens when the time-stamp authority does not answer."""

    FAIL_OPEN = "fail_open"
    FAIL_CLOSED = "fail_closed"


class ManifestSigner:
    """Signs with one signer. Holds no native object, so it may be made before a fork."""

    def __init__(
        self,
        signer: Signer,
        *,
        tsa_url: str | None = None,
        timestamp_policy: TimestampPolicy = TimestampPolicy.FAIL_OPEN,
        tsa_timeout_s: float = DEFAULT_TSA_TIMEOUT_S,
    ) -> None:
        """Sets up; connects to nothing.

        Args:
            signer: Signs claims.
            tsa_url: RFC 3161 time-stamp authority; None signs without time-stamps.
            timestamp_policy: FAIL_OPEN signs without a stamp and says so in the asset;
                FAIL_CLOSED raises.
            tsa_timeout_s: How long one signature may wait for the authority, seconds.

        Raises:
            ConfigError: `tsa_url` is no http or https address.
        """
        if tsa_url and (
            urlsplit(tsa_url).scheme not in ("http", "https") or not urlsplit(tsa_url).hostname
        ):
            raise ConfigError(f"time-stamp authority {tsa_url!r} must be an http(s) address")
        self._signer = signer
        self._tsa_url = tsa_url or None
        self._policy = timestamp_policy
        self._timeout_s = tsa_timeout_s

    @property
    def signer(self) -> Signer:
        return self._signer

    def sign(self, image: EncodedImage, claim: Claim) -> SignedAsset:
        """Signs `claim` into `image` and reads it back.

        Args:
            image: PNG, JPEG or WebP without a manifest: signing over an existing one would drop
                its history without a word. A picture that was edited goes into the claim, as
                parent.
            claim: What to say of it.

        Raises:
            ManifestError: The claim makes no valid manifest.
            SigningError: The image cannot carry one or has one, the signer failed, or the
                read-back differs. Nothing may be delivered then.
            TimestampError: No time-stamp came, under FAIL_CLOSED.
        """
        _require_unsigned(image)
        asset, report = self._sign_and_read(image, build_manifest(claim), claim)
        if report.claim is not classify_source_type(claim.shape.source_type):
            raise SigningError("not delivered: the actions did not come back as signed")
        return asset

    def attest(self, image: EncodedImage, attestation: Attestation) -> SignedAsset:
        """Signs a person's claim into a picture and reads it back.

        Args:
            image: As for `sign`: without the manifest that it may have come with, which goes into
                the attestation, as parent.
            attestation: What to say of it.

        Raises:
            ManifestError: As `sign`.
        """
        _require_unsigned(image, allow_remote=attestation.parent is not None)
        definition = build_attestation(attestation)
        asset, report = self._sign_and_read(image, definition, attestation)
        # A past that leaves generative AI open still does, whoever signs on top of it.
        past = report.parent_claim is SourceClaim.POSSIBLY_AI
        expected = SourceClaim.POSSIBLY_AI if past else attestation.claim
        if report.claim is not expected:
            raise SigningError("not delivered: the actions did not come back as signed")
        return asset

    def _sign_and_read(
        self, image: EncodedImage, definition: Mapping[str, object], claim: Claim | Attestation
    ) -> tuple[SignedAsset, ManifestReport]:
        ingredients = describe_ingredients(claim.ingredients)
        signed, is_stamped = self._sign_with_policy(image, definition, ingredients)
        report = _read_back(signed.data, image, expect_stamp=is_stamped)
        if report.soft_bindings != claim.soft_bindings:
            raise SigningError("not delivered: the soft bindings did not come back as signed")
        if report.ambiguous:
            raise SigningError("not delivered: the actions did not come back as signed")
        _check_ingredients(report, claim.ingredients)
        return _asset(signed, image, report), report

    def add_late_timestamp(self, image: EncodedImage, generator: SoftwareAgent) -> SignedAsset:
        """Stamps a signed image later, by an update manifest in front of the one it has.

        The stamp covers the existing signature, so it only helps while that certificate is still
        valid. The file's bytes and its active manifest change: the registry needs a new entry.

        Args:
            image: A file that was signed without a time-stamp.
            generator: The service, for the update manifest's claim_generator_info.

        Raises:
            ConfigError: No authority is configured.
            SigningError: The image is a WebP file, has no intact manifest, or the update does not
                validate.
            TimestampError: The authority gave no usable token. There is nothing to fail open to.
        """
        if self._tsa_url is None:
            raise ConfigError("no time-stamp authority is configured; set manifest.tsa_url")
        if image.media_type is MediaType.WEBP:
            # NOTE: the engine excludes the C2PA chunk alone from the hard binding, not the RIFF
            # header's length, which changes as soon as the store grows.
            raise SigningError(
                "a WebP file cannot be time-stamped later: its header's length is under the hard "
                "binding; sign it with the authority reachable, or deliver PNG or JPEG"
            )
        before = read_manifest(image.data, image.media_type, trust=no_trust())
        if before.credential is not Credential.EMBEDDED or before.integrity is not Integrity.INTACT:
            raise SigningError("only an intact signed image can be time-stamped later")
        signed = sdk.sign_update(
            image,
            {"claim_generator_info": [describe_generator(generator)], "assertions": []},
            signer=self._signer,
            tsa_url=self._tsa_url,
            deadline_s=self._timeout_s,
        )
        report = _read_back(signed.data, image, expect_stamp=True)
        if report.soft_bindings != before.soft_bindings or report.claim is not before.claim:
            raise SigningError("not delivered: the update manifest does not lead to its parent")
        return _asset(signed, image, report)

    def _sign_with_policy(
        self,
        image: EncodedImage,
        definition: Mapping[str, object],
        ingredients: Sequence[tuple[Mapping[str, object], EncodedImage | None]],
    ) -> tuple[sdk.SignedStore, bool]:
        if self._tsa_url is not None:
            try:
                return self._sign_once(image, definition, ingredients, self._tsa_url), True
            except TimestampError as error:
                if self._policy is TimestampPolicy.FAIL_CLOSED:
                    raise
                logger.warning("signing without a time-stamp: %s", error)
        return self._sign_once(image, definition, ingredients, None), False

    def _sign_once(
        self,
        image: EncodedImage,
        definition: Mapping[str, object],
        ingredients: Sequence[tuple[Mapping[str, object], EncodedImage | None]],
        tsa_url: str | None,
    ) -> sdk.SignedStore:
        return sdk.sign_standard(
            image,
            definition,
            ingredients=ingredients,
            signer=self._signer,
            tsa_url=tsa_url,
            deadline_s=self._timeout_s,
        )


def _require_unsigned(image: EncodedImage, *, allow_remote: bool = False) -> None:
    if image.media_type not in WRITABLE_MEDIA_TYPES:
        raise SigningError(f"{image.media_type} cannot be signed; encode it as PNG, JPEG or WebP")
    found = sdk.read_store(image.data, image.media_type, trust=no_trust())
    if found is sdk.ReadFailure.NO_MANIFEST:
        return
    if found is sdk.ReadFailure.REMOTE_NOT_FETCHED and allow_remote:
        return  # the ingredient tells of it
    if found is sdk.ReadFailure.REMOTE_NOT_FETCHED:
        raise SigningError(
            "this image refers to a remote manifest; a new one would drop that history"
        )
    if isinstance(found, sdk.ReadFailure):
        raise SigningError(f"this {image.media_type} file cannot be signed: it is damaged")
    raise SigningError(
        "this image carries a manifest already; signing it as newly created would drop its "
        "history without a word"
    )


def _check_ingredients(report: ManifestReport, ingredients: Sequence[Ingredient]) -> None:
    found = [(one.relationship, one.manifest_label) for one in report.ingredients]
    if found != [(one.relationship.value, one.manifest_label) for one in ingredients]:
        raise SigningError("not delivered: the ingredients did not come back as signed")
    for one, back in zip(ingredients, report.ingredients, strict=True):
        is_damaged = one.state is IngredientState.DAMAGED
        if is_damaged and back.state is not History.DAMAGED_INGREDIENT:
            raise SigningError("not delivered: the damage of an ingredient was not recorded")


def _read_back(data: bytes, source: EncodedImage, *, expect_stamp: bool) -> ManifestReport:
    # Without anchors: whether the chain is trusted somewhere is the self-test's question, and
    # must not decide whether this picture's bytes are sound.
    report = read_manifest(data, source.media_type, trust=no_trust())
    if report.credential is not Credential.EMBEDDED or report.manifest_label is None:
        raise SigningError("not delivered: the manifest could not be read back")
    if report.integrity is not Integrity.INTACT:
        codes = ", ".join(report.codes)
        raise SigningError(f"not delivered: the signed bytes do not validate ({codes})")
    if report.signing_time is SigningTime.EXPIRED:
        raise SigningError(
            "not delivered: the signing certificate is not valid now; see countermark keys doctor"
        )
    if expect_stamp and report.signing_time is not SigningTime.STAMPED_UNTRUSTED:
        raise TimestampError("not delivered: the time-stamp did not come back from the file")
    return report


def _asset(signed: sdk.SignedStore, source: EncodedImage, report: ManifestReport) -> SignedAsset:
    return SignedAsset(
        image=EncodedImage(signed.data, source.media_type),
        sha256=hashlib.sha256(signed.data).hexdigest(),
        # Checked in _read_back.
        manifest_label=report.manifest_label or "",
        manifest_store=signed.store,
        soft_bindings=report.soft_bindings,
        time_stamped=report.signing_time is SigningTime.STAMPED_UNTRUSTED,
    )
