"""Pack a model directory into an archive, inspect and extract archives, and check their layout."""

from mme_sdk.artifacts.archive import Archive, Entry, inspect
from mme_sdk.artifacts.estimators import is_estimator, save
from mme_sdk.artifacts.extract import Extracted, extract
from mme_sdk.artifacts.layout import FRAMEWORKS, check, detect
from mme_sdk.artifacts.pack import fingerprint, is_archive, pack

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
