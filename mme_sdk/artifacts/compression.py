"""Which DEFLATE to use: the fastest that is installed, at the level that makes a model load soonest."""

from __future__ import annotations

import zlib
from typing import Any, Protocol

__all__ = ["Compressor", "compressor"]

_GZIP = 31  # window bits that ask for gzip's header and trailer; its time stamp stays 0


class Compressor(Protocol):
    """Turns bytes into gzip, piece by piece."""

    def compress(self, data: Any, /) -> bytes:
        """What is ready of the output."""
        ...

    def flush(self) -> bytes:
        """The rest."""
        ...


def compressor() -> Compressor:
    """A gzip compressor whose output depends on the input alone.

    Level 1: weights hardly shrink further, and a loading model waits for the decompression too.
    """
    # From the `fast` extra: isal packs float32 weights some 20 times as fast as zlib, zlib-ng 3 times.
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
