"""The only file that talks to the C2PA engine (c2pa-python), and shields the rest from its quirks.

- Settings are explicit: nothing is ever fetched while reading, identity assertions are not decoded
  (they look up ``did:web`` addresses past every host list), thumbnails are off (they cost 40 times
  the signing time and up to a megabyte).
- Native objects do not survive ``fork``: contexts are made per process and kept per trust.
- States and exceptions come back as our enums and `provenance.errors`.
- An exception in a signing callback is swallowed by the engine; it is kept here and raised.
"""

from __future__ import annotations

import io
import json
import os
import threading
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import c2pa

from provenance.errors import SigningError, TimestampError
from provenance.manifest.certificates import to_pem
from provenance.manifest.structure import has_too_many_parts
from provenance.manifest.trust import ACCEPTED_EKUS, AnchorKind, TrustSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType

    from provenance.interfaces import Signer
    from provenance.types import EncodedImage

__all__ = [
    "EngineReading",
    "ReadFailure",
    "SignedStore",
    "StoreState",
    "engine_version",
    "read_store",
    "readable_media_types",
    "sign_standard",
    "sign_update",
]

_MAX_REPORT_CHARACTERS = 64 * 2**20
"""Longest JSON that the engine may answer. 30 real manifests take 0.3 MB; a hostile store could
answer its whole length as base64."""

_CREATED_LABELS = (
    "c2pa.actions",
    "c2pa.soft-binding",
    "c2pa.ingredient",
    "c2pa.ai-disclosure",
    "c2pa.embedded-data",
    "c2pa.time-stamp",
    "cawg.training-mining",
)

_SIGNATURE_BYTES = {"es256": 64, "es384": 96, "es512": 132, "ed25519": 64}
"""Source: RFC 9053 §2.1, §2.2. The engine cuts a longer one without a word."""


class StoreState(StrEnum):
    """The engine's own summary. Never shown: see `provenance.manifest.reading` for the layers."""

    INVALID = "Invalid"
    VALID = "Valid"
    TRUSTED = "Trusted"


class ReadFailure(StrEnum):
    """Why the engine has no reading."""

    NO_MANIFEST = "no_manifest"
    REMOTE_NOT_FETCHED = "remote_not_fetched"
    UNSUPPORTED = "unsupported"
    MALFORMED = "malformed"


@dataclass(frozen=True, slots=True)
class EngineReading:
    """What the engine read: untrusted data, to be interpreted by `reading`.

    Attributes:
        state: The engine's summary.
        report: The ``json()`` view: labels, validation codes, ingredients.
        crjson: The crJSON view: certificates, byte strings marked as such.
        trust_names: For each anchor address in `report`, the list's name and what it vouches for.
    """

    state: StoreState
    report: Mapping[str, Any] = field(repr=False)
    crjson: Mapping[str, Any] = field(repr=False)
    trust_names: Mapping[str, TrustName]


@dataclass(frozen=True, slots=True)
class TrustName:
    """One group of anchors as the engine names it.

    Attributes:
        name: Name of the list (or lists).
        kinds: What its anchors may vouch for. The engine does not enforce it; `reading` does.
    """

    name: str
    kinds: frozenset[AnchorKind]


@dataclass(frozen=True, slots=True)
class SignedStore:
    """What signing yields: the whole file and the bytes of its manifest store."""

    data: bytes = field(repr=False)
    store: bytes = field(repr=False)


def engine_version() -> str:
    """Version of the binding, for diagnostics."""
    return str(c2pa.__version__)


@lru_cache(maxsize=1)
def readable_media_types() -> frozenset[str]:
    """Media types that the engine can read a manifest from."""
    return frozenset(str(one) for one in c2pa.Reader.get_supported_mime_types())


# -- reading -----------------------------------------------------------------------------------


def read_store(
    data: bytes, media_type: str, *, trust: TrustSettings, manifest_store: bytes | None = None
) -> EngineReading | ReadFailure:
    """Reads and validates a manifest store; never opens a connection.

    Args:
        data: The whole file.
        media_type: By content.
        trust: Anchors.
        manifest_store: A store from elsewhere, judged against `data` instead of an embedded one.
    """
    if has_too_many_parts(data):
        return ReadFailure.MALFORMED
    context, names = _reading_context(os.getpid(), trust)
    # NOTE: the class attributes of C2paError are set at run time, so a type checker sees none.
    try:
        with c2pa.Reader(media_type, io.BytesIO(data), manifest_store, context=context) as reader:
            plain, flat = reader.json(), reader.crjson()
            state = reader.get_validation_state()
    except c2pa.C2paError.ManifestNotFound:
        return ReadFailure.NO_MANIFEST
    except c2pa.C2paError.NotSupported:
        return ReadFailure.UNSUPPORTED
    except c2pa.C2paError as error:
        # A remote manifest that was not fetched is the base class with this text, see
        # contentauth/c2pa-rs Error::RemoteManifestUrl.
        is_remote = str(error).startswith("Remote:")
        return ReadFailure.REMOTE_NOT_FETCHED if is_remote else ReadFailure.MALFORMED
    return _parse_reading(plain, flat, state, names)


def _parse_reading(
    plain: str, flat: str, state: str | None, names: Mapping[str, TrustName]
) -> EngineReading | ReadFailure:
    if max(len(plain), len(flat)) > _MAX_REPORT_CHARACTERS:
        return ReadFailure.MALFORMED
    try:
        report, crjson = json.loads(plain), json.loads(flat)
        # A deep nest of CBOR arrays comes through as a deep nest of JSON arrays.
    except (ValueError, RecursionError):
        return ReadFailure.MALFORMED
    if not isinstance(report, dict) or not isinstance(crjson, dict):
        return ReadFailure.MALFORMED
    known = {one.value for one in StoreState}
    summary = StoreState(state) if state in known else StoreState.INVALID
    return EngineReading(summary, report, crjson, names)


@lru_cache(maxsize=8)
def _reading_context(
    process_id: int,  # noqa: ARG001  part of the key: a context does not survive fork
    trust: TrustSettings,
) -> tuple[Any, Mapping[str, TrustName]]:
    anchors, names = _anchor_settings(trust)
    return c2pa.Context.from_dict(_settings(anchors)), names


def _anchor_settings(trust: TrustSettings) -> tuple[list[dict[str, str]], dict[str, TrustName]]:
    """Groups certificates so that each stands in exactly one group.

    The official lists share most of their roots. The engine reports the last group in which it
    found a root, so a root in two groups would make a good signer look like a time-stamp's.
    """
    groups: dict[tuple[str, frozenset[AnchorKind]], list[bytes]] = {}
    for certificate in dict.fromkeys(c for one in trust.lists for c in one.certificates):
        signs = trust.names_of(certificate, AnchorKind.MANIFEST)
        stamps = trust.names_of(certificate, AnchorKind.TSA)
        kinds = frozenset(
            kind
            for kind, found in ((AnchorKind.MANIFEST, signs), (AnchorKind.TSA, stamps))
            if found
        )
        groups.setdefault(((signs or stamps)[0], kinds), []).append(certificate)
    anchors, names = [], {}
    for number, ((name, kinds), certificates) in enumerate(groups.items()):
        uri = f"urn:countermark:anchors:{number}"
        names[uri] = TrustName(name, kinds)
        kind = AnchorKind.MANIFEST if AnchorKind.MANIFEST in kinds else AnchorKind.TSA
        pem = to_pem(certificates).decode("ascii")
        anchors.append({"trust_uri": uri, "trust_kind": kind.value, "trust_anchors": pem})
    return anchors, names


def _settings(anchors: list[dict[str, str]]) -> dict[str, Any]:
    return {
        "trust": {"trust_config": "\n".join(ACCEPTED_EKUS), "anchors": anchors},
        "verify": {
            "verify_after_reading": True,
            "verify_after_sign": True,
            "remote_manifest_fetch": False,
            "ocsp_fetch": False,
        },
        "core": {"allowed_network_hosts": [], "decode_identity_assertions": False},
        "builder": {
            "thumbnail": {"enabled": False},
            "created_assertion_labels": list(_CREATED_LABELS),
        },
    }


# -- signing -----------------------------------------------------------------------------------


def sign_standard(
    image: EncodedImage,
    definition: Mapping[str, Any],
    *,
    ingredients: Sequence[tuple[Mapping[str, Any], EncodedImage | None]] = (),
    signer: Signer,
    tsa_url: str | None,
    deadline_s: float,
) -> SignedStore:
    """Signs a standard manifest into an image without a manifest.

    Args:
        image: PNG, JPEG or WebP without a manifest.
        definition: From `provenance.manifest.claims.build_manifest`.
        ingredients: From `provenance.manifest.claims.describe_ingredients`. The engine reads the
            files under the same safe settings, and records what it found wrong with them.
        signer: Answers the signature.
        tsa_url: Time-stamp authority, or None.
        deadline_s: How long to wait, seconds; counts only where a time-stamp is asked for.

    Raises:
        SigningError: The signer or the engine refused.
        TimestampError: The signature was made, but no time-stamp came within the deadline.
    """
    settings = _settings([])
    described = [dict(one) for one, source in ingredients if source is None]
    whole = dict(definition) | ({"ingredients": described} if described else {})

    def build() -> Any:
        builder = c2pa.Builder(json.dumps(whole), context=_writing_context(settings))
        for one, source in ingredients:
            if source is not None:
                stream = io.BytesIO(source.data)
                builder.add_ingredient(json.dumps(one), source.media_type.value, stream)
        return builder

    return _sign(image, build, signer=signer, tsa_url=tsa_url, deadline_s=deadline_s)


def sign_update(
    image: EncodedImage,
    definition: Mapping[str, Any],
    *,
    signer: Signer,
    tsa_url: str,
    deadline_s: float,
) -> SignedStore:
    """Adds an update manifest whose `c2pa.time-stamp` covers the manifest that is there.

    Source: C2PA 2.5 "Update Manifests", "Time-stamp assertion".

    Raises:
        SigningError: The signer or the engine refused.
        TimestampError: No time-stamp came within the deadline.
    """
    settings = _settings([])
    # The engine asks the authority through the builder's context here, and only here.
    settings["core"]["allowed_network_hosts"] = [urlsplit(tsa_url).netloc.rpartition("@")[2]]
    settings["builder"]["actions"] = {"all_actions_included": True}
    settings["builder"]["auto_timestamp_assertion"] = {
        "enabled": True,
        "skip_existing": False,
        "fetch_scope": "parent",
    }

    def build() -> Any:
        builder = c2pa.Builder(json.dumps(definition), context=_writing_context(settings))
        builder.set_intent(c2pa.C2paBuilderIntent.UPDATE)
        return builder

    return _sign(image, build, signer=signer, tsa_url=tsa_url, deadline_s=deadline_s)


def _writing_context(settings: Mapping[str, Any]) -> Any:
    # A tenth of a millisecond, against a pool that would have to survive forks.
    return c2pa.Context.from_dict(settings)


class _Attempt:
    """Remembers what happened inside the signing callback."""

    def __init__(self, signer: Signer) -> None:
        self._signer = signer
        self.error: BaseException | None = None
        self.has_signed = False

    def __enter__(self) -> None:
        return None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # The engine swallows what a callback raises, so it is kept here; it still propagates.
        self.error = error

    def __call__(self, data: bytes) -> bytes:
        with self:
            signature = self._signer.sign(data)
            expected = _SIGNATURE_BYTES.get(self._signer.alg)
            if not signature or (expected is not None and len(signature) != expected):
                raise SigningError(
                    f"the signer answered {len(signature)} bytes for {self._signer.alg}; "
                    f"it must answer {expected} (raw r||s, not DER)"
                )
            self.has_signed = True
            return signature


def _sign(
    image: EncodedImage,
    build: Callable[[], Any],
    *,
    signer: Signer,
    tsa_url: str | None,
    deadline_s: float,
) -> SignedStore:
    attempt = _Attempt(signer)

    def work() -> SignedStore:
        out = io.BytesIO()
        try:
            native = c2pa.Signer.from_callback(
                attempt, _algorithm(signer), signer.certificate_chain_pem.decode("ascii"), tsa_url
            )
            with native:
                store = build().sign(native, image.media_type.value, io.BytesIO(image.data), out)
        except c2pa.C2paError as error:
            raise _signing_error(error, attempt, tsa_url) from (attempt.error or error)
        return SignedStore(out.getvalue(), bytes(store))

    if tsa_url is None:
        return work()
    return _within(deadline_s, work, tsa_url)


def _signing_error(error: Exception, attempt: _Attempt, tsa_url: str | None) -> SigningError:
    if isinstance(attempt.error, SigningError):
        return attempt.error
    if attempt.error is not None:
        return SigningError(
            f"the signer failed ({type(attempt.error).__name__}: {attempt.error}); "
            "see countermark keys doctor"
        )
    text = _without_password(" ".join(str(error).split()), tsa_url)[:300]
    # An update asks for its parent's stamp before it signs, so the text decides there.
    is_late = isinstance(error, c2pa.C2paError.Signature) and attempt.has_signed
    if tsa_url is not None and (is_late or _speaks_of_time(text)):
        return TimestampError(
            f"the time-stamp authority {_without_password(tsa_url, tsa_url)} gave no usable token "
            f"({text}); "
            "try again later, or set manifest.tsa_required to false"
        )
    return SigningError(
        f"the C2PA engine refused to sign ({text}); countermark keys doctor checks the certificate"
    )


def _without_password(text: str, url: str | None) -> str:
    """`text` without the user name and password that `url` may hold: it goes into logs."""
    login, found, _ = urlsplit(url or "").netloc.rpartition("@")
    return text.replace(f"{login}@", "") if found else text


def _speaks_of_time(text: str) -> bool:
    folded = text.lower()
    return any(word in folded for word in ("timestamp", "time stamp", "time-stamp", "http", "tsa"))


def _algorithm(signer: Signer) -> Any:
    try:
        return c2pa.C2paSigningAlg[signer.alg.upper()]
    except KeyError as error:
        raise SigningError(
            f"signer algorithm {signer.alg!r} is not one of es256, es384, es512, ps256, ed25519"
        ) from error


def _within(deadline_s: float, work: Callable[[], SignedStore], tsa_url: str) -> SignedStore:
    """Runs `work` in a thread and stops waiting after `deadline_s`.

    The engine asks the authority with a time limit of its own (30 s) that cannot be set, so an
    abandoned thread ends by itself.
    """
    answer: list[SignedStore] = []
    failure: list[SigningError] = []

    def run() -> None:
        try:
            answer.append(work())
        except SigningError as error:
            failure.append(error)

    thread = threading.Thread(target=run, name="countermark-time-stamp", daemon=True)
    thread.start()
    thread.join(deadline_s)
    if answer:
        return answer[0]
    if failure:
        raise failure[0]
    raise TimestampError(
        f"the time-stamp authority {_without_password(tsa_url, tsa_url)} did not answer within "
        f"{deadline_s:g} s; "
        "try again later, or set manifest.tsa_required to false"
    )
