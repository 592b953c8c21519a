"""How a lean lane treats its connections."""

from __future__ import annotations

import attrs

__all__ = ["Settings"]


@attrs.frozen(kw_only=True)
class Settings:
    """How a lane treats its connections.

    Attributes:
        max_idle: Idle connections kept; those beyond are closed when their answer has come, in silence.
        idle_for: Seconds after which an idle connection is not used again.
        stale_after: A connection idle for so many seconds, which the server closes within `stale_within` seconds
            instead of answering, was being closed when the request went out: it is sent once more, on a new one. A
            connection in steady use, or one that breaks late, is no such case: the model may have run.
        stale_within: See `stale_after`.
    """

    max_idle: int = 256
    idle_for: float = 50.0
    stale_after: float = 1.0
    stale_within: float = 1.0
