"""What is remembered of one invocation while it passes through, for its metrics."""

from __future__ import annotations

import attrs

__all__ = ["Trace"]


@attrs.define
class Trace:
    """One invocation.

    Attributes:
        model_seconds: Time in containers.
        waited_seconds: Time until the model was loaded; None where nothing was waited for.
        hit: Whether the model was in memory; None of single-model variants, and of requests that never got there.
    """

    model_seconds: float = 0.0
    waited_seconds: float | None = None
    hit: bool | None = None
