"""Value types that the parts of the SDK exchange. They are frozen, typed and do no I/O.

Names are imported on first use: the parser of S3 addresses does not import the classes of answers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mme_sdk._attempt import Attempt
    from mme_sdk.types.model import ModelVersion
    from mme_sdk.types.reply import Reply
    from mme_sdk.types.s3uri import S3Uri

__all__ = ["Attempt", "ModelVersion", "Reply", "S3Uri"]

_MODULES = {"Attempt": "_attempt", "ModelVersion": "types.model", "Reply": "types.reply", "S3Uri": "types.s3uri"}


def __getattr__(name: str) -> Any:
    module = _MODULES.get(name)
    if module is None:
        raise AttributeError(f"module 'mme_sdk.types' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"mme_sdk.{module}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
