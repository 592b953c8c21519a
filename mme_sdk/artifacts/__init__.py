"""Pack a model directory into an archive, inspect and extract archives, and check their layout.

Names are imported on first use: a container needs the profiles of images and not the readers of archives.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mme_sdk._lazy import lazy_names

if TYPE_CHECKING:
    from mme_sdk.artifacts.archive import Archive, Entry, inspect
    from mme_sdk.artifacts.estimators import is_estimator, save
    from mme_sdk.artifacts.extraction import Extracted, extract
    from mme_sdk.artifacts.layout import FRAMEWORKS, check, detect
    from mme_sdk.artifacts.packing import fingerprint, is_archive, pack

__all__ = [
    "FRAMEWORKS",
    "Archive",
    "Entry",
    "Extracted",
    "check",
    "detect",
    "extract",
    "fingerprint",
    "inspect",
    "is_archive",
    "is_estimator",
    "pack",
    "save",
]

_MODULES = {
    "FRAMEWORKS": "artifacts.layout",
    "Archive": "artifacts.archive",
    "Entry": "artifacts.archive",
    "Extracted": "artifacts.extraction",
    "check": "artifacts.layout",
    "detect": "artifacts.layout",
    "extract": "artifacts.extraction",
    "fingerprint": "artifacts.packing",
    "inspect": "artifacts.archive",
    "is_archive": "artifacts.packing",
    "is_estimator": "artifacts.estimators",
    "pack": "artifacts.packing",
    "save": "artifacts.estimators",
}

__getattr__ = lazy_names(__name__, _MODULES)


def __dir__() -> list[str]:
    return sorted(__all__)
