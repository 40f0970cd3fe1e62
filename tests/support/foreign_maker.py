"""Another maker of manifests: own certificates, own soft bindings; signs what it is told to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from provenance.manifest.sdk import sign_standard
from provenance.testing.certificates import ThrowawayAuthority
from provenance.types import EncodedImage, MediaType, SoftBinding

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["ForeignMaker"]

CAPTURE = "http://cv.iptc.org/newscodes/digitalsourcetype/digitalCapture"


class ForeignMaker:
    """Signs PNG files past every check of ours, as other people's programs do."""

    def __init__(self) -> None:
        self._signer = ThrowawayAuthority().issue().signer

    def sign(
        self,
        png: bytes,
        bindings: Iterable[SoftBinding | dict[str, Any]],
        *,
        parent: EncodedImage | None = None,
    ) -> bytes:
        """The manifest store of `png`.

        Args:
            png: A picture without a manifest.
            bindings: Its soft bindings, or whole assertions' data.
            parent: A signed file that it was made from.
        """
        begin: dict[str, Any] = {"action": "c2pa.created", "digitalSourceType": CAPTURE}
        if parent is not None:
            begin = {"action": "c2pa.opened", "parameters": {"ingredientIds": ["parent"]}}
        assertions = [
            {
                "label": "c2pa.actions.v2",
                "created": True,
                "data": {"allActionsIncluded": True, "actions": [begin]},
            }
        ]
        for one in bindings:
            data = one
            if isinstance(one, SoftBinding):
                data = {"alg": one.alg, "blocks": [{"scope": {}, "value": one.value}]}
            assertions.append({"label": "c2pa.soft-binding", "created": True, "data": data})
        definition = {
            "claim_generator_info": [{"name": "foreign", "version": "1"}],
            "assertions": assertions,
        }
        ingredient = {"title": "parent", "relationship": "parentOf", "label": "parent"}
        return sign_standard(
            EncodedImage(png, MediaType.PNG),
            definition,
            ingredients=() if parent is None else [(ingredient, parent)],
            signer=self._signer,
            tsa_url=None,
            deadline_s=10,
        ).store
