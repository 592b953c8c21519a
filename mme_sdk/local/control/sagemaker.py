"""SageMaker's operations by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mme_sdk.local.control.endpoints import Endpoints
from mme_sdk.local.control.resources import Resources

__all__ = ["SageMaker"]


class SageMaker:
    """The `sagemaker` service.

    Args:
        resources: Models, configurations and tags.
        endpoints: Endpoints.
    """

    service = "sagemaker"

    def __init__(self, resources: Resources, endpoints: Endpoints) -> None:
        self.operations: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
            "AddTags": resources.add_tags,
            "CreateEndpoint": endpoints.create_endpoint,
            "CreateEndpointConfig": resources.create_endpoint_config,
            "CreateModel": resources.create_model,
            "DeleteEndpoint": endpoints.delete_endpoint,
            "DeleteEndpointConfig": resources.delete_endpoint_config,
            "DeleteModel": resources.delete_model,
            "DeleteTags": resources.delete_tags,
            "DescribeEndpoint": endpoints.describe_endpoint,
            "DescribeEndpointConfig": resources.describe_endpoint_config,
            "DescribeModel": resources.describe_model,
            "ListEndpointConfigs": resources.list_endpoint_configs,
            "ListEndpoints": endpoints.list_endpoints,
            "ListModels": resources.list_models,
            "ListTags": resources.list_tags,
            "UpdateEndpoint": endpoints.update_endpoint,
            "UpdateEndpointWeightsAndCapacities": endpoints.update_weights_and_capacities,
        }
