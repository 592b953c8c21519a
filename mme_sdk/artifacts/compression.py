"""Select the gzip compressor: the fastest one that is installed."""

from __future__ import annotations

import zlib
from typing import Any, Protocol

__all__ = ["Compressor", "compressor"]

_GZIP = 31  # window bits for a gzip header and trailer; the time stamp in the header is 0


class Compressor(Protocol):
    """Compresses data to gzip, piece by piece."""

    def compress(self, data: Any, /) -> bytes:
        """Compress data and return the output that is complete."""
        ...

    def flush(self) -> bytes:
        """Return the rest of the output."""
        ...


def compressor() -> Compressor:
    """Return a gzip compressor whose output depends only on its input.

    It uses level 1, because higher levels hardly reduce the size of model weights.
    """
    # isal, from the `fast` extra, compresses float32 weights about 20 times as fast as zlib; zlib-ng 3 times.
    try:
        from isal import isal_zlib
    except ImportError:
        pass
    else:
        return isal_zlib.compressobj(level=1, wbits=_GZIP)
    try:
        from zlib_ng import zlib_ng
    except ImportError:
        return zlib.compressobj(level=1, wbits=_GZIP)
    return zlib_ng.compressobj(level=2, wbits=_GZIP)
