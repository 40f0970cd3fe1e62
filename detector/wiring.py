"""From settings to a detector that is ready. Makes no state: reading needs none."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, Generic, TypeVar

from detector.evidence.context import SourceContext
from detector.joining import RegistryJoin
from detector.policy_file import load_policy
from detector.policy_rules import STANDARD
from detector.service import Depth, DetectorService
from provenance.fingerprint.wiring import build_embedders, build_hasher, build_words
from provenance.imaging import ImageLimits
from provenance.manifest.wiring import build_trust
from provenance.plugins import load_backend
from provenance.watermark.wiring import build_mark_reader, build_signpost_reader

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from detector.attest import Attester
    from detector.policy_rules import Policy
    from provenance.config import Settings
    from provenance.fingerprint.verification import GeometryVerifier
    from provenance.interfaces import EvidenceSource, RecordStore

__all__ = ["build_attester", "build_context", "build_detector", "build_policy", "image_limits"]

SOURCES = "countermark.evidence_sources"

T = TypeVar("T")


class _Opener(Generic[T]):
    """Opens a part when it is first asked for, and keeps it; asks again while there is none."""

    def __init__(self, open_part: Callable[[], T | None]) -> None:
        self._open_part = open_part
        self._part: T | None = None
        self._lock = Lock()

    def __call__(self) -> T | None:
        with self._lock:
            if self._part is None:
                self._part = self._open_part()
            return self._part


def build_detector(
    settings: Settings,
    *,
    anchors: Sequence[Path] = (),
    tsa_anchors: Sequence[Path] = (),
    policy: Policy | None = None,
) -> DetectorService:
    """The reader path of a deployment.

    Args:
        settings: Of the deployment.
        anchors: Further PEM files of manifest roots.
        tsa_anchors: Further PEM files of time-stamp roots.
        policy: How evidence is weighed; None means the one that the settings name.

    Raises:
        ConfigError: A trust anchor file or the policy is missing or unusable, or a source is
            unknown.
    """
    if policy is None:
        policy = build_policy(settings)
    context = build_context(settings, anchors=anchors, tsa_anchors=tsa_anchors)
    sources: list[EvidenceSource] = [
        load_backend(SOURCES, name)(context) for name in settings.detector.sources
    ]
    return DetectorService(
        sources,
        join=RegistryJoin(context.store, context.hasher, context.trust),
        policy=policy,
        list_dates=context.trust.list_dates,
        limits=image_limits(settings),
        time_budget_s=settings.detector.time_budget_s,
    )


def build_policy(settings: Settings, named: str | None = None) -> Policy:
    """The policy of that name or in that file; None means the one that the settings name.

    Raises:
        ConfigError: There is none, or it is defective.
    """
    return load_policy(named or settings.detector.policy, settings.policies_folder)


def build_attester(settings: Settings) -> Attester:
    """The path of a person's claim; makes keys on first use, and the registry when it signs.

    Raises:
        ProvenanceError: Keys or a backend are unusable.
    """
    # Imported here: only this path writes.
    from importlib.metadata import version

    from detector.attest import Attester, AttestTerms
    from detector.attesting import REQUIRED_SOURCES
    from provenance.manifest.claims import SoftwareAgent, TrainingUse
    from provenance.manifest.pki import make_private_folder
    from provenance.manifest.wiring import build_manifest_signer
    from registry.wiring import open_registry

    make_private_folder(settings.home)
    sources = tuple(dict.fromkeys((*REQUIRED_SOURCES, *settings.detector.sources)))
    reading = replace(settings, detector=replace(settings.detector, sources=sources))
    options = settings.manifest
    signer = build_manifest_signer(settings)
    embedders = build_embedders(settings)
    return Attester(
        # What may be claimed is no matter of anybody's policy.
        detector=build_detector(reading, policy=STANDARD),
        open_store=partial(open_registry, settings),
        hasher=build_hasher(settings),
        embedder=next(iter(embedders), None),
        signer=signer,
        terms=AttestTerms(
            generator=SoftwareAgent(options.claim_generator, version("countermark")),
            namespace=options.namespace,
            training_use=TrainingUse(options.training_use),
        ),
        limits=image_limits(settings),
        clock=lambda: datetime.now(UTC),
        keeps_thumbnail=settings.fingerprint.keep_thumbnail,
        words=build_words(settings),
        further_embedders=embedders[1:],
    )


def build_context(
    settings: Settings,
    *,
    anchors: Sequence[Path] = (),
    tsa_anchors: Sequence[Path] = (),
) -> SourceContext:
    """What sources are built from.

    Raises:
        ConfigError: A trust anchor file is missing or unusable.
    """
    embedders = _Opener(partial(build_embedders, settings))
    return SourceContext(
        trust=build_trust(settings, anchors=anchors, tsa_anchors=tsa_anchors),
        store=_Opener(partial(_open_existing_registry, settings)),
        hasher=_Opener(partial(build_hasher, settings)),
        embedder=lambda: next(iter(embedders() or ()), None),
        further_embedders=lambda: (embedders() or ())[1:],
        verifier=_Opener(_load_verifier),
        words=_Opener(partial(build_words, settings)),
        get_asset=partial(_get_asset, settings),
        mark_reader=_Opener(partial(build_mark_reader, settings)),
        mark_search=Depth(settings.watermark.search),
        signpost_reader=_Opener(partial(build_signpost_reader, settings)),
        similar_max_distance_bits=settings.detector.similar_max_distance_bits,
        similar_min_cosine=settings.detector.similar_min_cosine,
        crop_codes=settings.fingerprint.crop_codes,
    )


def image_limits(settings: Settings) -> ImageLimits:
    """The limits on what is read."""
    return ImageLimits(settings.limits.max_bytes, settings.limits.max_pixels)


def _load_verifier() -> GeometryVerifier | None:
    # Imported here: what finds keypoints takes a second to load.
    from provenance.fingerprint.verification import load_verifier

    return load_verifier()


def _get_asset(settings: Settings, sha256: str) -> bytes | None:
    from registry.wiring import open_asset_store

    return open_asset_store(settings).get(sha256)


def _open_existing_registry(settings: Settings) -> RecordStore | None:
    """The registry; None while its SQLite file does not exist: reading makes none."""
    # SQLAlchemy loads only where there is a database to open.
    if not settings.registry.url and not (settings.home / "registry.sqlite3").exists():
        return None
    from registry.engine import sqlite_file
    from registry.wiring import open_registry

    file = sqlite_file(settings.registry_url)
    if file is not None and not file.exists():
        return None
    return open_registry(settings)
