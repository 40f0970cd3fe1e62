"""What the resolution API takes and answers, as its schema 2.4.0 names it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydantic.config import JsonDict, JsonValue

    from registry.resolution import Match

__all__ = [
    "EXAMPLE_ID",
    "RECEIPT_EXAMPLE",
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


EXAMPLE_ID = "urn:c2pa:81607e23-f5a4-4189-b398-07c24b61ed10"
EXAMPLE_MARK = "MSozNWM4YjIyNmY0ZTlkMDkw"
RECEIPT_EXAMPLE: JsonDict = {
    "@context": {"@vocab": "urn:countermark:receipt:1:"},
    "@type": "org.c2pa.manifest-receipt",
    "repository": {"uri": "https://cm.acme.org/v1", "manifestId": EXAMPLE_ID},
    "anchor": {
        "uri": "urn:countermark:log:" + 64 * "5",
        "proof": {
            "type": "hash-chain-1",
            "index": 41,
            "leaf": "eyJraW5kIjoiY29tbWl0Iiw...",
            "leafHash": 64 * "8",
            "previousHead": 64 * "0",
            "head": 64 * "f",
        },
    },
}


def _showing(**example: JsonValue) -> ConfigDict:
    return ConfigDict(extra="forbid", frozen=True, json_schema_extra={"examples": [example]})


def _taking(**example: JsonValue) -> ConfigDict:
    return ConfigDict(json_schema_extra={"examples": [example]})


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class MatchView(_Answer):
    """One manifest that was found."""

    manifestId: str  # noqa: N815  the schema's name
    similarityScore: int = Field(ge=0, le=100)  # noqa: N815


class Matches(_Answer):
    """Manifests that were found; perhaps none."""

    model_config = _showing(matches=[{"manifestId": EXAMPLE_ID, "similarityScore": 100}])

    matches: list[MatchView]


class AlgView(_Answer):
    """One algorithm."""

    alg: str


class AlgList(_Answer):
    """What is computed here."""

    model_config = _showing(
        watermarks=[{"alg": "org.countermark.lattice.1"}],
        fingerprints=[{"alg": "org.countermark.pdq.1"}],
    )

    watermarks: list[AlgView]
    fingerprints: list[AlgView]


class ServiceStatus(_Answer):
    """Whether the service answers."""

    model_config = _showing(status="ok", timestamp="2026-11-29T16:00:00+00:00")

    status: Literal["ok", "degraded", "down"]
    timestamp: str


class Capabilities(_Answer):
    """Which optional parts there are."""

    model_config = _showing(
        c2paSpecificationVersion=SPECIFICATION_VERSION,
        supportedCapabilities=["queryByContent", "storeManifests", "storeBindings"],
    )

    c2paSpecificationVersion: str  # noqa: N815
    supportedCapabilities: list[str]  # noqa: N815


class WellKnown(_Answer):
    """Where the API is."""

    model_config = _showing(
        apiEndpoint="https://cm.acme.org/v1",
        c2paSpecificationVersion=SPECIFICATION_VERSION,
        capabilitiesEndpoint="https://cm.acme.org/v1/services/capabilities",
        statusEndpoint="https://cm.acme.org/v1/services/status",
    )

    apiEndpoint: str  # noqa: N815
    c2paSpecificationVersion: str  # noqa: N815
    capabilitiesEndpoint: str  # noqa: N815
    statusEndpoint: str  # noqa: N815


class BindingQuery(BaseModel):
    """A soft binding to look for. The value is base64 of its text."""

    model_config = _taking(alg="org.countermark.lattice.1", value=EXAMPLE_MARK)

    alg: str
    value: str


class BindingsBody(BaseModel):
    """A soft binding of a stored manifest. The schema forgot `alg`."""

    model_config = _taking(
        bindingValue=EXAMPLE_MARK, manifestId=EXAMPLE_ID, alg="com.example.mark.1"
    )

    bindingValue: str  # noqa: N815
    manifestId: str  # noqa: N815
    alg: str | None = None


class ReferenceQuery(BaseModel):
    """A picture by its address."""

    model_config = _taking(
        referenceUrl="https://example.org/house.jpg", assetLength=412806, assetType="image/jpeg"
    )

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

    model_config = ConfigDict(
        extra="forbid", populate_by_name=True, json_schema_extra={"examples": [RECEIPT_EXAMPLE]}
    )

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
