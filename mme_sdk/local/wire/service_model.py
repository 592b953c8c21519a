"""Botocore's service models, which describe the operations and types of AWS services."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

__all__ = ["load_service_model", "partition_of"]


@cache
def load_service_model(service: str) -> Any:
    """Return botocore's model of a service, such as `sagemaker`."""
    from botocore.model import ServiceModel

    loader = _loader()
    # Loader.load_service_model would read the names of all services first.
    version = loader.determine_latest_version(service, "service-2")
    return ServiceModel(loader.load_data(f"{service}/{version}/service-2"), service_name=service)


@cache
def _loader() -> Any:
    from botocore.loaders import create_loader

    return create_loader()


@cache
def partition_of(region: str) -> str:
    """Return the partition of a region, such as `aws-cn` of `cn-north-1`; `aws` for an unknown region."""
    # botocore.session would load the endpoints of all services for the same answer.
    for partition in _loader().load_data("partitions")["partitions"]:
        if region in partition["regions"] or re.compile(partition["regionRegex"]).match(region):
            return str(partition["id"])
    return "aws"
