"""What a mark says of itself, said by whatever is wrapped around it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from provenance.interfaces import WatermarkTraits
    from provenance.types import Resave

__all__ = ["SharedTraits"]


class SharedTraits:
    """Passes on the traits of what a wrapper wraps; see `interfaces.WatermarkTraits`."""

    __slots__ = ()

    @property
    def _wrapped(self) -> WatermarkTraits:
        raise NotImplementedError

    @property
    def name(self) -> str:
        return self._wrapped.name

    @property
    def alg(self) -> str:
        return self._wrapped.alg

    @property
    def min_side_px(self) -> int:
        return self._wrapped.min_side_px

    @property
    def strengths(self) -> tuple[float, ...]:
        return self._wrapped.strengths

    @property
    def endures(self) -> tuple[Resave, ...]:
        return self._wrapped.endures
