"""Which cells a client calls: those that answer. Each client learns it from its own calls."""

from __future__ import annotations

from collections.abc import Callable

from mme_sdk.errors import (
    ConflictError,
    EndpointFailedError,
    EndpointNotFoundError,
    MMEError,
    ModelError,
    ThrottledError,
)

__all__ = ["Health"]

_REST, _LONGEST_REST = 5.0, 60.0  # seconds
_MODELS = 2  # that fail without a success in between, before the cell counts as lost
_MAX_DETOURS = 10_000  # models; a program exceeds it only if it generates names


class Health:
    """What one client knows of one cell.

    A cell is lost if its endpoint does not serve, or if calls of two models fail in a row. It rests for 5 s, then for
    twice as long each time, at most 60 s; then one call tries it, and the others follow if it succeeds. If one model
    fails, only its calls go elsewhere, for 5 s.

    Args:
        monotonic: Monotonic clock, in seconds.

    Attributes:
        lost: Whether the cell is lost.
    """

    __slots__ = ("_detours", "_failed", "_monotonic", "_rest", "_tried", "_until", "lost")

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self.lost = False
        self._monotonic = monotonic
        self._rest = _REST
        self._until = 0.0
        self._tried = False  # whether a trial is under way
        self._failed: set[str] = set()
        self._detours: dict[str, float] = {}

    def healthy(self, key: str) -> bool:
        """Return whether nothing speaks against calls of a model to the cell, and no success is awaited."""
        return not self.lost and not self._failed and key not in self._detours

    def usable(self, key: str) -> bool:
        """Return whether this call of a model may go to the cell. The answer True for a lost cell is the trial."""
        now = self._monotonic()
        if self.lost:
            if now < self._until:
                return False
            self._until, self._tried = now + self._rest, True  # other callers wait for the outcome of this trial
            return True
        until = self._detours.get(key)
        if until is None:
            return True
        if now < until:
            return False
        self._detours[key] = now + _REST
        return True

    def failed(self, key: str, error: MMEError) -> bool:
        """Record that a call failed.

        Args:
            key: Name of the model.
            error: The error.

        Returns:
            Whether the cell is lost since this call.
        """
        if isinstance(error, ThrottledError):
            return False  # it serves
        now = self._monotonic()
        if len(self._detours) >= _MAX_DETOURS:
            self._detours.clear()
        self._detours[key] = now + _REST
        if isinstance(error, ModelError):
            return False  # its container has no memory or worker for the model, and serves others
        self._failed.add(key)
        if self.lost:
            if self._tried:
                self._tried, self._rest = False, min(2 * self._rest, _LONGEST_REST)
                self._until = now + self._rest
            return False
        absent = isinstance(error, (EndpointNotFoundError, EndpointFailedError, ConflictError))
        self.lost = absent or len(self._failed) >= _MODELS
        self._until, self._tried = now + self._rest, False
        return self.lost

    def answered(self, key: str) -> bool:
        """Record that a call was answered.

        Args:
            key: Name of the model.

        Returns:
            Whether that is news: the cell was lost, or calls of the model went elsewhere.
        """
        news = self.lost or key in self._detours
        if news or self._failed:
            if self.lost:
                self._detours.clear()
            self.lost, self._rest = False, _REST
            self._failed.clear()
            self._detours.pop(key, None)
        return news
