"""The only file that knows invisible-watermark (and with it OpenCV): arrays in, arrays out.

The frequency methods are entered at ``encode_frame``, where the package hides bits in wavelet
coefficients. NOTE: its front, ``encode``, is left out because of three defects of version 0.2.0
(https://github.com/ShieldMnt/invisible-watermark): it swaps two detail bands of U (43 dB on
photographs, 26 dB on coloured line art, before any mark), it sends the picture through 8-bit YUV
and back, and it cuts results to whole numbers instead of rounding. Marks made here are read by the
package, and the other way round.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from provenance.errors import BackendUnavailableError

if TYPE_CHECKING:
    from provenance.types import BitArray

__all__ = ["find_model", "quantise_largest_coefficients", "quantise_singular_values"]

_Real: TypeAlias = npt.NDArray[np.float64]


def quantise_singular_values(frame: _Real, bits: BitArray, *, step: float) -> _Real:
    """Hides one bit per 4x4 block with the package's ``dwtDctSvd``.

    Args:
        frame: (4 r, 4 c) Haar approximation.
        bits: (r c,) bool, row by row.
        step: Quantiser step.

    Returns:
        A copy of `frame` that carries the bits.

    Raises:
        BackendUnavailableError: invisible-watermark or OpenCV cannot be imported.
    """
    method = _load_method("dwtDctSvd").EmbedDwtDctSvd
    marked = frame.copy()
    method(bits.astype(int).tolist(), wmLen=bits.size).encode_frame(marked, step)
    return marked


def quantise_largest_coefficients(frame: _Real, bits: BitArray, *, step: float) -> _Real:
    """The same with the package's ``dwtDct``; see `quantise_singular_values`.

    Raises:
        BackendUnavailableError: invisible-watermark or OpenCV cannot be imported.
    """
    method = _load_method("maxDct").EmbedMaxDct
    marked = frame.copy()
    method(bits.astype(int).tolist(), wmLen=bits.size).encode_frame(marked, step)
    return marked


@cache
def _load_method(name: str) -> Any:
    """One module of the package, without its front.

    NOTE: the front imports torch for a method that is not used here: seconds, and hundreds of
    megabytes in every process that marks.

    Raises:
        BackendUnavailableError: invisible-watermark or OpenCV cannot be imported.
    """
    try:
        package = find_spec("imwatermark")
        folder = Path(package.origin).parent if package and package.origin else Path()
        spec = spec_from_file_location(f"imwatermark.{name}", folder / f"{name}.py")
        module = module_from_spec(spec)  # type: ignore[arg-type]  # a .py file has a spec
        spec.loader.exec_module(module)  # type: ignore[union-attr]  # and a loader
    except (ImportError, OSError, ValueError) as error:
        raise _missing(error) from error
    return module


def find_model(name: str) -> Path:
    """Where a model file lies that the package ships; the package itself is not imported.

    Raises:
        BackendUnavailableError: The package is not installed, or holds no such file.
    """
    package = find_spec("imwatermark")
    path = Path(package.origin).parent / name if package and package.origin else None
    if path is None or not path.is_file():
        raise BackendUnavailableError(
            f"rivaGan needs {name} from invisible-watermark, which is not here; install it with: "
            "pip install 'countermark[generate]'"
        )
    return path


def _missing(error: Exception) -> BackendUnavailableError:
    return BackendUnavailableError(
        f"embedding needs invisible-watermark and OpenCV, which cannot be imported ({error}); "
        "install them with: pip install 'countermark[generate]' (a server without a display may "
        "also lack the system library libGL). Reading a mark needs neither"
    )
