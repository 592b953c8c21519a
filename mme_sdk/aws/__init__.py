"""Access to AWS. Only this package imports boto3 and botocore, and only when a call needs them.

Operations are written as *flows*: generators that yield effects (`Call`, `Sleep`, `Do`, `Together`) and receive the
results. `Aws.run` runs a flow in a thread, `Aws.arun` runs the same flow on an event loop. So the synchronous and the
asynchronous clients behave the same.

Names are imported on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mme_sdk._flows.effects import Call, Do, Effect, Flow, Sleep, Together, cleaned, noting
    from mme_sdk.aws.session import Aws

__all__ = ["Aws", "Call", "Do", "Effect", "Flow", "Sleep", "Together", "cleaned", "noting"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'mme_sdk.aws' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module("mme_sdk.aws.session" if name == "Aws" else "mme_sdk._flows.effects"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
