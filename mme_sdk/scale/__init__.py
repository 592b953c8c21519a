"""Tables scored from many processes and machines.

Names are imported on first use. The engines have modules of their own: `mme_sdk.scale.dask`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mme_sdk._lazy import lazy_names

if TYPE_CHECKING:
    from mme_sdk.scale.executors import score
    from mme_sdk.scale.ledger import score_part
    from mme_sdk.scale.plan import ScoringPlan
    from mme_sdk.scale.scorer import Scorer

__all__ = ["Scorer", "ScoringPlan", "score", "score_part"]

_MODULES = {
    "Scorer": "scale.scorer",
    "ScoringPlan": "scale.plan",
    "score": "scale.executors",
    "score_part": "scale.ledger",
}

__getattr__ = lazy_names(__name__, _MODULES)


def __dir__() -> list[str]:
    return sorted(__all__)
