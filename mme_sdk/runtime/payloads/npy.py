"""Encode arrays as NPY.

The format: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
"""

from __future__ import annotations

import io
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["array_to_npy", "without_mask"]


def array_to_npy(array: npt.NDArray[Any]) -> bytes:
    """Encode an array as NPY. It may have any number of dimensions, and any dtype but `object`.

    Raises:
        TypeError: The array contains objects or masked values.
    """
    import numpy as np

    array = without_mask(array)
    if array.dtype.hasobject:
        raise TypeError("NPY can store an array of objects only by pickle; convert it to a dtype, or send JSON")
    if array.dtype.kind in "biufc" and array.flags.c_contiguous:
        return b"".join((_npy_header(array.dtype.str, array.shape), array.data))
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


@lru_cache(maxsize=256)
def _npy_header(descr: str, shape: tuple[int, ...]) -> bytes:
    """Return the header of an NPY file of numbers: numpy takes as long for it as for everything else."""
    import numpy as np

    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": descr, "fortran_order": False, "shape": shape})
    return buffer.getvalue()


def without_mask(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return a plain array; raise TypeError if values are masked, because no encoding keeps the mask."""
    import numpy as np

    if isinstance(array, np.ma.MaskedArray) and np.ma.is_masked(array):
        raise TypeError("no encoding keeps the mask of a masked array; send array.filled(…)")
    return np.asarray(array)
