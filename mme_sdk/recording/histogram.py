"""A histogram of durations with a bounded relative error. Two histograms merge exactly, in any order.

The buckets are powers of 1.1, as in DDSketch (Masson, Rim, Lee: DDSketch, PVLDB 2019): a quantile is wrong by at most
5 %. This module is 60 lines; the package `ddsketch` would add protobuf, and loses buckets when it is full.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import attrs

from mme_sdk._validation import check_number

__all__ = ["Histogram", "bucket_of"]

_BASE = 1.1
WIDTH = math.log(_BASE)  # of a bucket
LEAST = 1e-6  # seconds; anything shorter is in the first bucket
FIRST = math.floor(math.log(LEAST) / WIDTH)  # number of the first bucket


def bucket_of(seconds: float) -> int:
    """Return the number of the bucket of a duration."""
    return math.floor(math.log(seconds) / WIDTH) if seconds > LEAST else FIRST


@attrs.frozen
class Histogram:
    """Durations, counted in buckets of equal relative width.

    Attributes:
        counts: Number of durations in each bucket, by the bucket's number: bucket `n` holds 1.1ⁿ to 1.1ⁿ⁺¹ seconds.
            Default: none.

    Example:
        >>> round(Histogram.of([0.010] * 99 + [2.0]).quantile(0.5), 3)
        0.01
    """

    counts: Mapping[int, int] = attrs.field(factory=dict, hash=False)

    @classmethod
    def of(cls, durations: Iterable[float]) -> Histogram:
        """Return the histogram of durations.

        Args:
            durations: Durations in seconds.

        Returns:
            The histogram.
        """
        counts: dict[int, int] = {}
        for seconds in durations:
            bucket = bucket_of(seconds)
            counts[bucket] = counts.get(bucket, 0) + 1
        return cls(counts)

    @property
    def total(self) -> int:
        """Number of durations."""
        return sum(self.counts.values())

    def quantile(self, share: float) -> float | None:
        """Return a quantile, which is wrong by at most 5 %.

        Args:
            share: Share of durations that are not longer, 0 to 1: 0.95 for the 95th percentile.

        Returns:
            The quantile in seconds. None if the histogram is empty.

        Raises:
            InvalidInputError: `share` is outside 0 to 1.
        """
        check_number("share", share, at_least=0, at_most=1)
        left = share * (self.total - 1)
        for bucket in sorted(self.counts):
            left -= self.counts[bucket]
            if left < 0:
                return middle_of(bucket)
        return None

    def __add__(self, other: Histogram) -> Histogram:
        counts = dict(self.counts)
        for bucket, count in other.counts.items():
            counts[bucket] = counts.get(bucket, 0) + count
        return Histogram(counts)


def middle_of(bucket: int) -> float:
    """Return the duration whose relative distance from both ends of a bucket is the same, in seconds."""
    return float(2 * _BASE ** (bucket + 1) / (1 + _BASE))
