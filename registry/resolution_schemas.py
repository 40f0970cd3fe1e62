"""What the resolution API takes and answers, as its schema 2.4.0 names it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from collections.abc import Iterable

    from registry.resolution import Match

__all__ = [
    "AlgList",
    "BindingQuery",
    "BindingsBody",
    "Capabilities",
    "Matches",
    "Receipt",
    "ReferenceQuery",
    "ServiceStatus",
    "WellKnown",
    "view_matches",
]

SPECIFICATION_VERSION = "2.4.0"


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class MatchView(_Answer):
    """One manifest that was found."""

    manifestId: str  # noqa: N815  the schema's name
    similarityScore: int = Field(ge=0, le=100)  # noqa: N815


class Matches(_Answer):
    """Manifests that were found; perhaps none."""

    matches: list[MatchView]


class AlgView(_Answer):
    """One algorithm."""

    alg: str


class AlgList(_Answer):
    """What is computed here."""

    watermarks: list[AlgView]
    fingerprints: list[AlgView]


class ServiceStatus(_Answer):
    """Whether the service answers."""

    status: Literal["ok", "degraded", "down"]
    timestamp: str


class Capabilities(_Answer):
    """Which optional parts there are."""

    c2paSpecificationVersion: str  # noqa: N815
    supportedCapabilities: list[str]  # noqa: N815


class WellKnown(_Answer):
    """Where the API is."""

    apiEndpoint: str  # noqa: N815
    c2paSpecificationVersion: str  # noqa: N815
    capabilitiesEndpoint: str  # noqa: N815
    statusEndpoint: str  # noqa: N815


class BindingQuery(BaseModel):
    """A soft binding to look for. The value is base64 of its text."""

    alg: str
    value: str


class BindingsBody(BaseModel):
    """A soft binding of a stored manifest. The schema forgot `alg`."""

    bindingValue: str  # noqa: N815
    manifestId: str  # noqa: N815
    alg: str | None = None


class ReferenceQuery(BaseModel):
    """A picture by its address."""

    referenceUrl: str = Field(pattern="^https://.*")  # noqa: N815
    assetLength: int = Field(ge=1)  # noqa: N815
    assetType: str | None = None  # noqa: N815
    region: list[dict[str, Any]] | None = None


class ReceiptRepository(BaseModel):
    """Who gave a receipt, for what."""

    model_config = ConfigDict(extra="forbid")

    uri: str
    manifestId: str  # noqa: N815


class ReceiptAnchor(BaseModel):
    """What proves it."""

    model_config = ConfigDict(extra="allow")

    uri: str
    proof: dict[str, Any]
    parameters: dict[str, Any] | None = None


class Receipt(BaseModel):
    """A receipt as somebody sends it."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    context: dict[str, Any] | str = Field(alias="@context")
    type: Literal["org.c2pa.manifest-receipt"] = Field(alias="@type")
    repository: ReceiptRepository
    anchor: ReceiptAnchor

    def as_sent(self) -> dict[str, Any]:
        """The same JSON."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True)


def view_matches(found: Iterable[Match]) -> Matches:
    """The answer of a query."""
    return Matches(
        matches=[MatchView(manifestId=one.manifest_id, similarityScore=one.score) for one in found]
    )
