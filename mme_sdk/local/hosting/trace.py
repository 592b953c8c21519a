"""Measurements of one invocation, for its metrics."""

from __future__ import annotations

import attrs

__all__ = ["Trace"]


@attrs.define
class Trace:
    """Measurements of one invocation.

    Attributes:
        model_seconds: Seconds spent in containers.
        waited_seconds: Seconds spent waiting for the model to be loaded; None if the model was in memory.
        hit: Whether the model was in memory; None for single-model variants and for rejected requests.
    """

    model_seconds: float = 0.0
    waited_seconds: float | None = None
    hit: bool | None = None
