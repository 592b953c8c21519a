"""Botocore's service models, which describe the operations and types of AWS services."""

from __future__ import annotations

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
    from botocore.exceptions import UnknownRegionError
    from botocore.session import Session

    try:
        name: str = Session().get_partition_for_region(region)
    except UnknownRegionError:
        return "aws"
    return name
