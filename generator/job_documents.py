"""Requests and errors of jobs as rows hold them: JSON, and the bytes of input pictures."""

from __future__ import annotations

import hashlib
import json
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from provenance import errors
from provenance.errors import (
    CancelledError,
    CapacityError,
    ContentBlockedError,
    InputError,
    ProvenanceError,
    RegistryError,
)
from provenance.imaging import ImageLimits, decode_image, encode_image, open_input
from provenance.types import (
    GenerationRequest,
    InputImage,
    InputRole,
    LoraRef,
    MediaType,
    RasterImage,
    SafetyPolicy,
    SafetyReport,
)
from registry.tables import PictureState

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from registry.jobs import StoredJob

__all__ = [
    "batch_key",
    "document_to_error",
    "error_to_document",
    "final_data",
    "public_detail",
    "read_requests",
    "write_requests",
]

_PER_PICTURE = frozenset({"prompt", "negative_prompt", "seed", "media_type", "quality"})
"""What pictures of one batch may differ in: the rest is shared by all that is computed."""
_INPUTS = frozenset({"init_image", "mask"})
_TOLD = (InputError, CapacityError, CancelledError)
"""Errors that speak of the request alone."""
_CHECKED = ImageLimits(max_bytes=2**32, max_pixels=2**32)
"""Rows hold what was checked when the job was taken."""


# -- requests ------------------------------------------------------------------------------------


def write_requests(
    requests: Sequence[GenerationRequest],
) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The requests as JSON, and the pictures that they name by their SHA-256."""
    inputs: dict[str, bytes] = {}
    written = [_write_request(request, inputs) for request in requests]
    return {"requests": written}, inputs


def _write_request(request: GenerationRequest, inputs: dict[str, bytes]) -> dict[str, Any]:
    return {one.name: _write(getattr(request, one.name), inputs) for one in fields(request)}


def _write(value: Any, inputs: dict[str, bytes]) -> Any:
    if isinstance(value, InputImage):
        inputs[value.sha256] = value.data
        return value.sha256
    if isinstance(value, RasterImage):
        data = encode_image(value, MediaType.PNG).data
        digest = hashlib.sha256(data).hexdigest()
        inputs[digest] = data
        return digest
    if isinstance(value, LoraRef):
        return {"name": value.name, "scale": value.scale}
    if isinstance(value, tuple):
        return [_write(one, inputs) for one in value]
    return value


def read_requests(
    body: Mapping[str, Any], inputs: Mapping[str, bytes]
) -> tuple[GenerationRequest, ...]:
    """The requests again; equal to those that were written.

    Raises:
        InputError: A request is no longer valid in this version.
        RegistryError: The row was written by a newer version, or is damaged.
    """
    known = {one.name for one in fields(GenerationRequest)}
    opened: dict[str, InputImage] = {}

    def open_once(digest: str) -> InputImage:
        if digest not in opened:
            opened[digest] = open_input(inputs[digest], name="init_image", limits=_CHECKED)
        return opened[digest]

    readers: dict[str, Callable[[Any], Any]] = {
        "media_type": MediaType,
        "input_role": InputRole,
        "init_image": open_once,
        "mask": lambda digest: decode_image(inputs[digest], name="mask", limits=_CHECKED),
        "loras": lambda many: tuple(LoraRef(one["name"], one["scale"]) for one in many),
    }
    try:
        written = body["requests"]
        unknown = {name for one in written for name in one} - known
        if unknown:
            raise RegistryError(
                f"a job asks for {', '.join(sorted(unknown))}, which this version doesn't know; "
                "run it with the version that took it"
            )
        return tuple(_read_request(one, readers) for one in written)
    except (KeyError, TypeError, ValueError) as error:
        raise RegistryError(
            f"a job's row is damaged ({error}); submit the request again"
        ) from error


def _read_request(
    written: Mapping[str, Any], readers: Mapping[str, Callable[[Any], Any]]
) -> GenerationRequest:
    values: dict[str, Any] = {
        name: readers[name](value) if name in readers and value is not None else value
        for name, value in written.items()
    }
    return GenerationRequest(**values)


def batch_key(requests: Sequence[GenerationRequest]) -> str:
    """64 hex digits: jobs with the same ones may be rendered together; tells nothing of prompts."""
    shapes = {json.dumps(_shape(request), sort_keys=True) for request in requests}
    return hashlib.sha256("\n".join(sorted(shapes)).encode()).hexdigest()


def _shape(request: GenerationRequest) -> dict[str, Any]:
    shape: dict[str, Any] = {}
    for one in fields(request):
        value = getattr(request, one.name)
        if one.name in _INPUTS:
            shape[one.name] = value is not None
        elif one.name not in _PER_PICTURE:
            shape[one.name] = _write(value, {})
    return shape


# -- ends ----------------------------------------------------------------------------------------


def error_to_document(error: ProvenanceError) -> dict[str, Any]:
    """What ended a job, as its row keeps it."""
    document: dict[str, Any] = {"kind": type(error).__name__, "detail": str(error)}
    if isinstance(error, ContentBlockedError):
        report = error.report
        document["refusal_id"] = error.refusal_id
        document["report"] = {
            "checker": report.checker,
            "version": report.version,
            "scores": dict(report.scores),
            "thresholds": dict(report.thresholds),
            "policy": report.policy.value,
        }
    return document


def document_to_error(document: Mapping[str, Any]) -> ProvenanceError:
    """The error again, as good as it was written."""
    detail = str(document.get("detail", ""))
    report = document.get("report")
    if report is not None:
        measured = SafetyReport(
            checker=report["checker"],
            version=report["version"],
            scores=report["scores"],
            thresholds=report["thresholds"],
            policy=SafetyPolicy(report["policy"]),
        )
        return ContentBlockedError(detail, measured, document.get("refusal_id"))
    kind = getattr(errors, str(document.get("kind")), None)
    if isinstance(kind, type) and issubclass(kind, _TOLD):
        return kind(detail)
    return ProvenanceError(detail)


def public_detail(error: ProvenanceError | None) -> str | None:
    """What a stranger may read: reasons of a refusal or a bad field, never paths of the server."""
    if error is None:
        return None
    if isinstance(error, (ContentBlockedError, *_TOLD)):
        return str(error)
    return "not delivered; the service's log says why"


def final_data(stored: StoredJob) -> dict[str, Any]:
    """What the last event of a job says: what was delivered, and what ended it early."""
    error = None if stored.error is None else document_to_error(stored.error)
    return {
        "record_ids": [
            picture.record_id
            for picture in stored.pictures
            if picture.state is PictureState.DONE and picture.record_id is not None
        ],
        "detail": public_detail(error),
    }
