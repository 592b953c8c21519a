"""The instances of a variant: pools of instance types, and a short text."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import attrs

from mme_sdk._tracebacks import short_tracebacks
from mme_sdk._validation import as_int, number
from mme_sdk.endpoints.spec import validators

__all__ = ["InstancePool", "instances_text"]


@short_tracebacks
@attrs.frozen(kw_only=True)
class InstancePool:
    """An instance type that SageMaker may use for a variant.

    Attributes:
        instance_type: Instance type, such as `ml.m5.xlarge`.
        priority: 1 to 5. SageMaker tries the lowest number first.
    """

    instance_type: str
    priority: int = attrs.field(converter=as_int, validator=number(at_least=1, at_most=5, integer=True))

    def __attrs_post_init__(self) -> None:
        validators.hosting_type(self.instance_type)
        validators.instance_type(self.instance_type)


def instances_text(variants: Iterable[Any]) -> str | None:
    """Return the instances of variants as text, such as `2 x ml.m5.xlarge`; None if they are not known."""
    listed = list(variants)
    if not any(one.instance_type or getattr(one, "serverless", None) for one in listed):
        return None
    return ", ".join(
        f"{one.instance_count or '?'} x {one.instance_type}" if one.instance_type else "serverless" for one in listed
    )
