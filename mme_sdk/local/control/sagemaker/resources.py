"""Models, endpoint configurations and tags."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from mme_sdk.local.control.account import Account
from mme_sdk.local.control.sagemaker.rules import check_config, check_model
from mme_sdk.local.control.store import Store
from mme_sdk.local.wire.errors import ApiError

__all__ = ["KINDS", "Resources", "filter_and_sort", "paginate", "utc_now"]

KINDS = {"model": "model", "endpoint-config": "endpoint configuration", "endpoint": "endpoint"}
"""Kinds of resources: the name in ARNs, and the name in error messages."""


class Resources:
    """The models and endpoint configurations of a host, and the tags of all resources.

    Args:
        store: Holds the documents.
        account: The account of the resources.
        now: Function that returns the current time.
        multi_model: Function that returns whether an image has the label of multi-model containers.
    """

    def __init__(
        self,
        store: Store,
        account: Account,
        now: Callable[[], datetime],
        multi_model: Callable[[str], bool] = lambda _image: True,
    ) -> None:
        self.store = store
        self.account = account
        self.now = now
        self._multi_model = multi_model

    def find(self, kind: str, name: str) -> dict[str, Any]:
        """Return a document.

        Raises:
            ApiError: The resource does not exist.
        """
        document = self.store.get(kind, name)
        if document is None:
            raise ApiError("ValidationException", f'Could not find {KINDS[kind]} "{self.account.arn(kind, name)}".')
        return document

    def check_name_is_free(self, kind: str, name: str) -> None:
        """Raise ApiError if a resource exists whose name differs at most in case."""
        if self.store.has_ignoring_case(kind, name):  # their ARNs, and so their tags, would be the same
            arn = self.account.arn(kind, name)
            raise ApiError("ValidationException", f'Cannot create already existing {KINDS[kind]} "{arn}".')

    def set_tags(self, arn: str, tags: Sequence[Mapping[str, str]] | None) -> None:
        """Store the tags of a new resource."""
        if tags:
            self.store.put("tags", arn, {tag["Key"]: tag["Value"] for tag in tags})

    def create_model(self, params: dict[str, Any]) -> dict[str, Any]:
        """CreateModel."""
        name = params["ModelName"]
        self.check_name_is_free("model", name)
        check_model(params, self._multi_model)
        arn = self.account.arn("model", name)
        self.set_tags(arn, params.pop("Tags", None))
        network_isolation = params.pop("EnableNetworkIsolation", False)
        for container in [params.get("PrimaryContainer"), *params.get("Containers", [])]:
            if container is not None:
                container.setdefault("Mode", "SingleModel")
        self.store.put(
            "model",
            name,
            params | {"ModelArn": arn, "CreationTime": self.now(), "EnableNetworkIsolation": network_isolation},
        )
        return {"ModelArn": arn}

    def describe_model(self, params: dict[str, Any]) -> dict[str, Any]:
        """DescribeModel."""
        return self.find("model", params["ModelName"])

    def delete_model(self, params: dict[str, Any]) -> dict[str, Any]:
        """DeleteModel."""
        return self._delete("model", params["ModelName"])

    def list_models(self, params: dict[str, Any]) -> dict[str, Any]:
        """ListModels."""
        return self._list("model", params, "Models", ("ModelName", "ModelArn", "CreationTime"))

    def create_endpoint_config(self, params: dict[str, Any]) -> dict[str, Any]:
        """CreateEndpointConfig."""
        name = params["EndpointConfigName"]
        self.check_name_is_free("endpoint-config", name)
        check_config(params, self.find_models(params))
        for shadow in params.get("ShadowProductionVariants", []):
            if "ModelName" in shadow:
                self.find("model", shadow["ModelName"])
        for variant in params["ProductionVariants"]:
            variant.setdefault("InitialVariantWeight", 1.0)
        arn = self.account.arn("endpoint-config", name)
        self.set_tags(arn, params.pop("Tags", None))
        self.store.put("endpoint-config", name, params | {"EndpointConfigArn": arn, "CreationTime": self.now()})
        return {"EndpointConfigArn": arn}

    def find_models(self, config: dict[str, Any]) -> dict[str, dict[str, Any]]:
        """Return the documents of the models of a configuration by name.

        Raises:
            ApiError: A model does not exist, or a variant has none (inference components are not supported).
        """
        for variant in config["ProductionVariants"]:
            if "ModelName" not in variant:
                raise ApiError(
                    "ValidationException", "Inference components are not supported by the embedded SageMaker."
                )
        return {v["ModelName"]: self.find("model", v["ModelName"]) for v in config["ProductionVariants"]}

    def describe_endpoint_config(self, params: dict[str, Any]) -> dict[str, Any]:
        """DescribeEndpointConfig."""
        return self.find("endpoint-config", params["EndpointConfigName"])

    def delete_endpoint_config(self, params: dict[str, Any]) -> dict[str, Any]:
        """DeleteEndpointConfig."""
        return self._delete("endpoint-config", params["EndpointConfigName"])

    def list_endpoint_configs(self, params: dict[str, Any]) -> dict[str, Any]:
        """ListEndpointConfigs."""
        members = ("EndpointConfigName", "EndpointConfigArn", "CreationTime")
        return self._list("endpoint-config", params, "EndpointConfigs", members)

    def add_tags(self, params: dict[str, Any]) -> dict[str, Any]:
        """AddTags."""
        tags = self._tags(params["ResourceArn"])
        tags |= {tag["Key"]: tag["Value"] for tag in params["Tags"]}
        if len(tags) > 50:
            raise ApiError("ResourceLimitExceeded", f"{params['ResourceArn']} cannot have more than 50 tags.")
        self.store.put("tags", params["ResourceArn"], tags)
        return {"Tags": _as_list(tags)}

    def delete_tags(self, params: dict[str, Any]) -> dict[str, Any]:
        """DeleteTags."""
        tags = self._tags(params["ResourceArn"])
        self.store.put("tags", params["ResourceArn"], {k: v for k, v in tags.items() if k not in params["TagKeys"]})
        return {}

    def list_tags(self, params: dict[str, Any]) -> dict[str, Any]:
        """ListTags."""
        return paginate(_as_list(self._tags(params["ResourceArn"])), params, "Tags", default=50)

    def _tags(self, arn: str) -> dict[str, Any]:
        kind, _, name = arn.rpartition(":")[2].partition("/")
        if kind not in KINDS or all(name != known.lower() for known, _ in self.store.all(kind)):
            raise ApiError("ValidationException", f'Could not find resource "{arn}".')
        return self.store.get("tags", arn) or {}

    def _delete(self, kind: str, name: str) -> dict[str, Any]:
        self.find(kind, name)
        self.store.delete(kind, name)
        self.store.delete("tags", self.account.arn(kind, name))
        return {}

    def _list(self, kind: str, params: dict[str, Any], member: str, members: Sequence[str]) -> dict[str, Any]:
        documents = [{key: document[key] for key in members} for _, document in self.store.all(kind)]
        return paginate(filter_and_sort(documents, params, members[0]), params, member)


def filter_and_sort(documents: Iterable[dict[str, Any]], params: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """Return the summaries that match the parameters of a List operation, sorted.

    Args:
        documents: Summaries.
        params: Parameters such as NameContains, CreationTimeAfter, SortBy and SortOrder.
        name: The member of a summary that is the name.

    Returns:
        The matching summaries.
    """
    kept = [
        one
        for one in documents
        if params.get("NameContains", "").lower() in one[name].lower()
        and all(
            (one[stamp] > params[key]) if key.endswith("After") else (one[stamp] < params[key])
            for key in params
            if key.endswith(("After", "Before"))
            for stamp in [key.removesuffix("After").removesuffix("Before")]
        )
        and params.get("StatusEquals") in (None, one.get("EndpointStatus"))
    ]
    keys: dict[str, Callable[[dict[str, Any]], Any]] = {
        "Name": lambda one: one[name],
        "Status": lambda one: one["EndpointStatus"],
        "CreationTime": lambda one: one["CreationTime"],
    }
    kept.sort(
        key=keys[params.get("SortBy", "CreationTime")], reverse=params.get("SortOrder", "Descending") != "Ascending"
    )
    return kept


def paginate(
    items: Sequence[Any],
    params: Mapping[str, Any],
    member: str,
    *,
    default: int = 10,
    code: str = "ValidationException",
) -> dict[str, Any]:
    """Return a page of a list, with the token of the next page.

    Args:
        items: The whole list.
        params: Parameters MaxResults and NextToken.
        member: The member of the response that holds the list.
        default: Page size without MaxResults.
        code: Error code of the service for an invalid token.

    Raises:
        ApiError: The token is invalid.
    """
    try:
        start = int(base64.urlsafe_b64decode(params["NextToken"])) if "NextToken" in params else 0
    except ValueError:
        start = -1
    if start < 0:
        raise ApiError(code, "Invalid pagination token.")
    end = start + params.get("MaxResults", default)
    answer: dict[str, Any] = {member: list(items[start:end])}
    if end < len(items):
        answer["NextToken"] = base64.urlsafe_b64encode(str(end).encode()).decode()
    return answer


def _as_list(tags: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def utc_now() -> datetime:
    """Return the current time in UTC."""
    return datetime.now(UTC)
