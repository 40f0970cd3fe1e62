"""From settings to a generator that is ready; makes keys and registry on first use."""

from __future__ import annotations

import hashlib
import hmac
from contextlib import nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from generator.inputs import InputExaminer
from generator.job_events import EventHub
from generator.job_worker import JobWorker
from generator.jobs import JobService
from generator.marking import LocalMarker
from generator.marking_pool import MarkingPool
from generator.marks import ClaimTerms, Marks
from generator.pipelines.weights import WeightFormats
from generator.reproduce import Reproducer
from generator.service import GenerationService, Sink
from generator.studios import StudioPool, open_checker
from generator.visible_label import missing_letters
from provenance.errors import ConfigError
from provenance.fingerprint.wiring import build_embedders, build_hasher, build_words
from provenance.manifest.claims import SoftwareAgent, TrainingUse
from provenance.manifest.pki import make_private_folder
from provenance.manifest.selftest import run_self_test
from provenance.manifest.wiring import build_manifest_signer, build_trust
from provenance.plugins import load_backend
from provenance.watermark.keyfile import read_key_file
from provenance.watermark.marking import MarkLimits
from provenance.watermark.signpost import put_signpost
from provenance.watermark.wiring import (
    build_codec,
    build_mark_reader,
    open_codec,
    open_current_key,
)
from registry.jobs import JobStore
from registry.wiring import (
    open_asset_store,
    open_delivery,
    open_input_vault,
    open_registry,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from provenance.config import Settings
    from provenance.interfaces import AssetStore, Pipeline, RecordStore
    from provenance.manifest.signing import ManifestSigner
    from provenance.types import RenderDefaults, WatermarkInfo
    from registry.store import SqlRecordStore

__all__ = ["Generator", "build_generator", "build_marker", "build_reproducer"]

MAX_LABEL_CHARACTERS = 60
"""What fits into the corner of a picture of 512 pixels and can still be read."""


@dataclass(frozen=True, slots=True)
class Generator:
    """A generator that is ready to take requests.

    Attributes:
        service: W1 to W9.
        store: The registry.
        assets: Delivered bytes, when they are kept.
        check_model: Answers the model that a name means; refuses one that is not offered.
        defaults: What suits a model when a request leaves the choice open.
        self_test: Signs, tampers and reads a small picture.
        build_jobs: Makes the job service that runs `service`; one a process.
        marking: Keeps the processes that mark running while it is entered, if there are any.
    """

    service: GenerationService
    store: RecordStore
    assets: AssetStore | None
    check_model: Callable[[str | None], str | None]
    defaults: Callable[[str | None], RenderDefaults]
    self_test: Callable[[], None]
    build_jobs: Callable[[GenerationService], JobService]
    marking: AbstractContextManager[object]


def build_generator(
    settings: Settings, *, model: str | None = None, marking_workers: int = 0
) -> Generator:
    """Composes the write path.

    Args:
        settings: Of the deployment.
        model: Overrides ``generator.model`` (the command's ``--model``).
        marking_workers: Processes that mark; 0 marks in this one.

    Raises:
        ProvenanceError: Keys, registry or a backend are unusable. Models load on first use.
    """
    make_private_folder(settings.home)
    signer = build_manifest_signer(settings)
    store = open_registry(settings)
    assets = None
    if settings.registry.keep_assets:
        assets = open_delivery(settings, store)
        open_asset_store(settings).recover(
            lambda sha256: store.find_by_file_hash(sha256) is not None,
            abandoned_after_s=settings.registry.reservation_lifetime_s,
        )
    pool = _build_pool(settings, model)
    # Built here too: it makes missing keys once, and says at once what is wrong with them.
    local = _build_marker(settings, signer)
    marking = (
        MarkingPool(partial(build_marker, settings), workers=marking_workers)
        if marking_workers
        else None
    )
    reader = build_mark_reader(settings)
    service = GenerationService(
        open_studio=pool.open,
        examine=InputExaminer(store, local.marks.hasher, None if reader is None else reader.read),
        safety_policy=settings.safety.policy,
        marks=local.marks,
        store=store,
        seal=open_input_vault(settings).seal if settings.generator.keep_inputs else None,
        sinks=() if assets is None else (_keep_in(assets),),
        clock=local.clock,
        claim_generator=local.claim_generator,
        marker=marking,
    )
    return Generator(
        service,
        store,
        assets,
        pool.resolve,
        pool.defaults,
        partial(run_self_test, signer, trust=build_trust(settings)),
        partial(_build_jobs, settings, store, pool, marking_workers),
        nullcontext() if marking is None else marking,
    )


def build_reproducer(settings: Settings, *, model: str | None = None) -> Reproducer:
    """Composes the audit that renders registered pictures again. Changes nothing.

    Args:
        settings: Of the deployment.
        model: Overrides the model that the picture was asked for from.

    Raises:
        ProvenanceError: Keys, registry or a backend are unusable.
    """
    marks = _build_marks(settings, build_manifest_signer(settings))

    def marks_for(info: WatermarkInfo) -> Marks | None:
        keys = {one.key_id: one for one in read_key_file(settings.watermark_key_file)}
        key = keys.get(info.key_id)
        if key is None:
            return None
        return replace(marks, codec=open_codec(info.codec), key=key)

    return Reproducer(
        store=open_registry(settings),
        vault=open_input_vault(settings),
        open_pipeline=lambda name: _build_pool(settings, model or name).open(None).pipeline,
        marks_for=marks_for,
        assets=open_asset_store(settings) if settings.registry.keep_assets else None,
    )


def build_marker(settings: Settings) -> LocalMarker:
    """What a process that only marks needs: no registry, no model.

    Raises:
        ProvenanceError: Keys or a backend are unusable.
    """
    return _build_marker(settings, build_manifest_signer(settings))


def _build_marker(settings: Settings, signer: ManifestSigner) -> LocalMarker:
    return LocalMarker(
        _build_marks(settings, signer),
        _utc_now,
        f"{settings.manifest.claim_generator} {version('countermark')}",
    )


def _utc_now() -> datetime:
    return datetime.now(UTC)


def _build_jobs(
    settings: Settings,
    store: SqlRecordStore,
    pool: StudioPool,
    marking_workers: int,
    service: GenerationService,
) -> JobService:
    secret = open_current_key(settings).derive("jobs")
    jobs, events = JobStore(store.engine), EventHub()
    worker = JobWorker(
        jobs,
        service,
        events,
        find_refusal=store.find_refusal,
        batch_size=settings.generator.batch_size,
        retention=timedelta(seconds=settings.serve.keep_jobs_s),
        marking_threads=marking_workers,
    )
    return JobService(
        jobs,
        store,
        worker,
        events,
        resolve_model=pool.resolve,
        check=service.check,
        digest=lambda sent: hmac.digest(secret, sent, hashlib.sha256).hex(),
        max_queue=settings.serve.max_queue,
    )


def _build_pool(settings: Settings, model: str | None) -> StudioPool:
    options = settings.generator
    default = model or options.model or None
    cache_dir = settings.home / "cache"

    def load(name: str | None) -> Pipeline:
        formats = (
            WeightFormats.PICKLE_ALLOWED if options.allow_pickle else WeightFormats.SAFETENSORS_ONLY
        )
        pipeline: Pipeline = load_backend("countermark.pipelines", options.pipeline)(
            name,
            device=options.device,
            dtype=options.dtype,
            weight_formats=formats,
            memory_saving=options.memory_saving,
            revision=options.revision or None,
            variant=options.variant or None,
            cache_dir=cache_dir,
            offline=options.offline,
            lora_folder=lora_folder(settings),
        )
        return pipeline

    def peek(name: str | None) -> RenderDefaults | None:
        if options.pipeline != "diffusers":
            return None
        from generator.pipelines.diffusers import peek_defaults

        return peek_defaults(name, revision=options.revision or None)

    return StudioPool(
        load,
        lambda pipeline: open_checker(
            settings.safety.checker,
            pipeline,
            thresholds=settings.safety.thresholds,
            cache_dir=cache_dir,
        ),
        default_model=default,
        allowed_models=options.allowed_models,
        peek=peek,
    )


def lora_folder(settings: Settings) -> Path | None:
    """Where the operator keeps LoRA files; None offers none."""
    named = settings.generator.lora_folder
    return Path(named).expanduser() if named else None


def _build_marks(settings: Settings, signer: ManifestSigner) -> Marks:
    codec = build_codec(settings)
    put_signpost(codec, settings.watermark.signpost)  # refused now, not with the first picture
    embedders = build_embedders(settings)
    return Marks(
        codec=codec,
        key=open_current_key(settings),
        hasher=build_hasher(settings),
        embedder=next(iter(embedders), None),
        signer=signer,
        terms=ClaimTerms(
            generator=SoftwareAgent(settings.manifest.claim_generator, version("countermark")),
            namespace=settings.manifest.namespace,
            training_use=_training_use(settings.manifest.training_use),
            include_prompt=settings.manifest.include_prompt,
            label_text=_label_text(settings.generator.label_text),
        ),
        limits=MarkLimits(settings.watermark.min_psnr_db, settings.watermark.min_ssim),
        deliver_unmarkable=settings.watermark.deliver_unmarkable,
        signpost=settings.watermark.signpost,
        keeps_thumbnail=settings.fingerprint.keep_thumbnail,
        words=build_words(settings),
        further_embedders=embedders[1:],
    )


def _label_text(text: str) -> str:
    if len(text) > MAX_LABEL_CHARACTERS or not text.isprintable():
        raise ConfigError(
            f"generator.label_text must be one line of at most {MAX_LABEL_CHARACTERS} characters"
        )
    lacking = missing_letters(text)
    if lacking:
        raise ConfigError(
            f"generator.label_text: the label's font has no {lacking}, and would draw boxes in "
            "place of them; spell it in the letters a to z, like KI-generiert"
        )
    return text.strip()


def _training_use(text: str) -> TrainingUse:
    try:
        return TrainingUse(text)
    except ValueError as error:
        known = ", ".join(TrainingUse)
        raise ConfigError(f"manifest.training_use {text!r} must be one of {known}") from error


def _keep_in(assets: AssetStore) -> Sink:
    return lambda asset: assets.stage(asset.image)
