"""The one exception tree of Countermark.

Rule: a *negative finding is a value, inability to proceed is an exception*. A picture without a
mark is an answer (`Finding.ABSENT`); a picture that cannot be decoded is an error. Adapters
translate foreign exceptions into this tree with ``from``, so that no exception of a wrapped
library leaves our API. HTTP statuses and exit codes live in `provenance.web` and
`provenance.cli`, not here.

Each message names the thing (file, field, record), says what is wrong, and ends with what to do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from provenance.types import SafetyReport

__all__ = [
    "AttestationRefusedError",
    "BackendUnavailableError",
    "CancelledError",
    "CapacityError",
    "ConfigError",
    "ContentBlockedError",
    "DeliveryError",
    "FetchError",
    "GenerationError",
    "IdempotencyConflictError",
    "ImageDecodeError",
    "ImageTooLargeError",
    "InputError",
    "ManifestError",
    "NotAllowedError",
    "PayloadConflictError",
    "ProvenanceError",
    "QueueFullError",
    "QuotaExceededError",
    "ReadBackError",
    "RecordGoneError",
    "RecordNotFoundError",
    "RegistryError",
    "RegistryUnavailableError",
    "SigningError",
    "TimestampError",
    "UnknownBackendError",
    "UnsafeBackendWarning",
    "UnsupportedMediaTypeError",
    "WatermarkError",
]


class UnsafeBackendWarning(UserWarning):
    """A backend was chosen that switches a safeguard off; visible in logs and tests."""


class ProvenanceError(Exception):
    """Root of every error that Countermark raises on purpose."""


# -- settings and plug-ins ---------------------------------------------------------------------


class ConfigError(ProvenanceError):
    """A setting, an argument of the operator, or a key file is unusable."""


class UnknownBackendError(ConfigError):
    """No backend has this name, or two distributions claim it."""


class BackendUnavailableError(ProvenanceError):
    """The backend exists, but an extra or its weights are missing; the message says which."""


# -- bytes that strangers send -----------------------------------------------------------------


class InputError(ProvenanceError):
    """A request or an input file is unusable; the message names the field or the file."""


class UnsupportedMediaTypeError(InputError):
    """The bytes are no image of a kind that Countermark reads or writes."""


class ImageDecodeError(InputError):
    """The bytes announce an image but do not decode as one."""


class ImageTooLargeError(InputError):
    """The image exceeds a limit on bytes or pixels."""


class IdempotencyConflictError(InputError):
    """A client used one idempotency key for two different requests."""


class QueueFullError(ProvenanceError):
    """Too many jobs wait; the client should come back later.

    Attributes:
        retry_after_s: When there is likely to be room, seconds.
    """

    def __init__(self, message: str, *, retry_after_s: int = 1) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class QuotaExceededError(ProvenanceError):
    """A caller has used up what it may ask for.

    Attributes:
        retry_after_s: Seconds until there is something again.
    """

    def __init__(self, message: str, *, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class FetchError(ProvenanceError):
    """Another service may not be asked, does not answer, or answers what cannot be used."""


# -- writing -----------------------------------------------------------------------------------


class GenerationError(ProvenanceError):
    """The pipeline could not render (out of memory, a defect of the model folder)."""


class CancelledError(ProvenanceError):
    """Somebody ended the work before it was done; nothing was delivered."""


class DeliveryError(ProvenanceError):
    """The finished bytes could not be stored where they were asked for (disk full, no right)."""


class ContentBlockedError(ProvenanceError):
    """The safety policy blocked the picture. Carries the report; never the picture.

    Attributes:
        report: What the checker measured and why the policy blocked.
        refusal_id: Id of the refusal record in the registry, once it is written.
    """

    def __init__(self, message: str, report: SafetyReport, refusal_id: str | None = None) -> None:
        super().__init__(message)
        self.report = report
        self.refusal_id = refusal_id


class WatermarkError(ProvenanceError):
    """The watermark could not be embedded or its key is unusable."""


class CapacityError(WatermarkError):
    """The picture (too small, too flat) or the codec (too few bits) cannot carry the payload."""


class ReadBackError(WatermarkError):
    """The mark could not be read back from the encoded bytes: they are not delivered."""


class AttestationRefusedError(ProvenanceError):
    """The evidence says that a machine took part, so no person's claim is signed over it."""


class ManifestError(ProvenanceError):
    """A C2PA manifest could not be built, read back, or put back in place."""


class SigningError(ManifestError):
    """The signer refused, or the signed bytes did not validate on read-back."""


class TimestampError(SigningError):
    """The time-stamp authority did not answer with a usable RFC 3161 token."""


# -- registry ----------------------------------------------------------------------------------


class RegistryError(ProvenanceError):
    """The registry refused an operation."""


class RecordNotFoundError(RegistryError):
    """No record has this id."""


class NotAllowedError(RegistryError):
    """The caller may not do this, e.g. because somebody else owns what it would change."""


class RecordGoneError(RecordNotFoundError):
    """The record was erased, or its file was taken down; the message says when and why."""


class PayloadConflictError(RegistryError):
    """A record id was already used, is not reserved, or its reservation has expired."""


class RegistryUnavailableError(RegistryError):
    """The database cannot be reached, is locked, or is not at the expected migration."""
