"""The operation Search over endpoints and models."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from mme_sdk.local.control.sagemaker.search import Search
from mme_sdk.local.wire.errors import ApiError
from tests.unit.local.test_resume import Host

START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def search(tmp_path_factory):
    host = Host(tmp_path_factory.mktemp("search"))
    times = iter(START + timedelta(days=number) for number in range(100))
    host.resources.now = lambda: next(times)
    for name, count in (("a", 1), ("b", 2), ("c", 3)):
        host.resources.create_model(
            {"ModelName": name, "PrimaryContainer": {"Image": f"image-{name}"}, "EnableNetworkIsolation": name == "c"}
        )
        variant = {"VariantName": "A", "ModelName": name, "InstanceType": "ml.m5.large", "InitialInstanceCount": count}
        host.resources.create_endpoint_config({"EndpointConfigName": name, "ProductionVariants": [variant]})

    async def main() -> None:
        for name in "abc":
            tags = [{"Key": "team", "Value": f"team-{name}"}, {"Key": "a.b", "Value": "x"}] if name != "c" else []
            params = {"EndpointName": name, "EndpointConfigName": name, "Tags": tags}
            host.endpoints.create_endpoint(params)
            while host.describe(name)["EndpointStatus"] != "InService":
                await asyncio.sleep(0)
        await host.endpoints.close()

    asyncio.run(main())
    yield Search(host.resources, host.endpoints)
    host.store.close()


def found(search: Search, resource: str = "Endpoint", **params: Any) -> str:
    results = search.search({"Resource": resource, "SortBy": f"{resource}Name", "SortOrder": "Ascending"} | params)
    if resource == "Endpoint":
        return "".join(one["Endpoint"]["EndpointName"] for one in results["Results"])
    return "".join(one["Model"]["Model"]["ModelName"] for one in results["Results"])


def where(name: str, operator: str | None = None, value: str | None = None) -> dict[str, Any]:
    condition = {"Name": name, "Operator": operator, "Value": value}
    return {"Filters": [{key: one for key, one in condition.items() if one is not None}]}


@pytest.mark.parametrize(
    ("expression", "names"),
    [
        ({}, "abc"),
        (where("EndpointName", None, "a"), "a"),
        (where("EndpointName", "NotEquals", "a"), "bc"),
        (where("EndpointName", "In", "a,c"), "ac"),
        (where("EndpointArn", "Contains", "endpoint/b"), "b"),
        (where("EndpointStatus", "Equals", "InService"), "abc"),
        (where("FailureReason", "Exists"), ""),
        (where("FailureReason", "NotExists"), "abc"),
        (where("Tags.team", "Equals", "team-a"), "a"),
        (where("Tags.a.b", "Equals", "x"), "ab"),
        (where("Tags.team", "NotExists"), "c"),
        (where("ProductionVariants.CurrentInstanceCount", "GreaterThan", "1"), "bc"),
        (where("ProductionVariants.CurrentInstanceCount", "LessThanOrEqualTo", "2"), "ab"),
        (where("ProductionVariants.CurrentInstanceCount", "Equals", "2"), "b"),
        (where("CreationTime", "LessThan", "2026-01-08"), "a"),
        (where("CreationTime", "GreaterThanOrEqualTo", "2030-01-01T00:00:00Z"), ""),
        ({"Filters": [*where("EndpointName", None, "a")["Filters"], *where("EndpointName", None, "b")["Filters"]]}, ""),
        (
            {"Operator": "Or", "SubExpressions": [where("EndpointName", None, "a"), where("Tags.team", "NotExists")]},
            "ac",
        ),
        (
            {"NestedFilters": [{
                "NestedPropertyName": "ProductionVariants",
                "Filters": [
                    *where("ProductionVariants.VariantName", None, "A")["Filters"],
                    *where("ProductionVariants.DesiredInstanceCount", "GreaterThan", "2")["Filters"],
                ],
            }]},
            "c",
        ),
    ],
)  # fmt: skip
def test_endpoints_by_their_properties(search, expression, names):
    assert found(search, SearchExpression=expression) == names


def test_models_by_their_properties(search):
    assert found(search, "Model", SearchExpression=where("PrimaryContainer.Image", None, "image-b")) == "b"
    assert found(search, "Model", SearchExpression=where("EnableNetworkIsolation", None, "true")) == "c"


def test_order_and_pages(search):
    assert found(search, SortBy="CreationTime") == "abc"
    assert found(search, SortBy="CreationTime", SortOrder="Descending") == "cba"
    assert [one["Endpoint"]["EndpointName"] for one in search.search({"Resource": "Endpoint"})["Results"]] == [*"cba"]
    page = search.search({"Resource": "Model", "MaxResults": 2})
    assert len(page["Results"]) == 2
    rest = search.search({"Resource": "Model", "MaxResults": 2, "NextToken": page["NextToken"]})
    assert [one["Model"]["Model"]["ModelName"] for one in rest["Results"]] == ["a"]


@pytest.mark.parametrize(
    ("params", "reason"),
    [
        ({"SearchExpression": where("Name", None, "a")}, "Unknown property name: Name"),
        ({"SortBy": "Color"}, "Unknown property name: Color"),
        ({"SearchExpression": {"SubExpressions": [where("Color", "Exists")]}}, "Unknown property name: Color"),
        ({"SearchExpression": where("EndpointName")}, "Value must be specified for the operator Equals"),
        ({"SearchExpression": where("EndpointName", "LessThan", "b")}, "needs a property that is a number or a time"),
        ({"SearchExpression": where("CreationTime", "LessThan", "soon")}, "'soon' cannot be compared"),
    ],
)
def test_what_cannot_be_searched_is_refused_by_name(search, params, reason):
    with pytest.raises(ApiError) as caught:
        search.search({"Resource": "Endpoint", **params})
    assert caught.value.code == "ValidationException"
    assert reason in caught.value.message
