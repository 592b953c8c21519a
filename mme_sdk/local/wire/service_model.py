"""Botocore's service models, which describe the operations and types of AWS services."""

from __future__ import annotations

from functools import cache
from typing import Any

__all__ = ["load_service_model"]


@cache
def load_service_model(service: str) -> Any:
    """Return botocore's model of a service, such as `sagemaker`."""
    from botocore.session import Session

    return Session().get_service_model(service)
