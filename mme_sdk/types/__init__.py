"""Value types that the parts of the SDK exchange. They are frozen, typed and do no I/O.

Names are imported on first use: the parser of S3 addresses does not import the classes of answers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mme_sdk._lazy import lazy_names

if TYPE_CHECKING:
    from mme_sdk._attempt import Attempt
    from mme_sdk.types.model import ModelVersion
    from mme_sdk.types.reply import Reply
    from mme_sdk.types.s3uri import S3Uri

__all__ = ["Attempt", "ModelVersion", "Reply", "S3Uri"]

_MODULES = {
    "Attempt": "_attempt",
    "ModelVersion": "types.model",
    "Reply": "types.reply",
    "S3Uri": "types.s3uri",
}

__getattr__ = lazy_names(__name__, _MODULES)


def __dir__() -> list[str]:
    return sorted(__all__)
