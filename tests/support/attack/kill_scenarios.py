"""The work that clients do when they are killed; each scenario runs in a process of its own."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3

from mme_sdk import Autoscaling, EndpointSpec, MMEClient
from mme_sdk.errors import ModelNotFoundError
from mme_sdk.registry import ModelRegistry
from mme_sdk.registry.operations import upload
from mme_sdk.runtime import BatchSettings, FileLeases, LoadTimes
from tests.support.attack.killing import say

PART = 5 << 20  # the least that S3 allows
ROLE = "arn:aws:iam::123456789012:role/sagemaker"
BUCKET = "kills"
SHARED = "all"  # the endpoint that serves every archive of the bucket
ITEMS = 24
LEASES = 10
OPENED: list[MMEClient] = []


def prepare(order: dict[str, Any]) -> None:
    """Make the client, before anything is counted."""
    upload.PART = PART
    session = boto3.Session(order["key"], order["secret"], region_name="us-east-1")
    OPENED.append(MMEClient(session=session, endpoint_url=order["urls"]))


def models(order: dict[str, Any]) -> ModelRegistry:
    return OPENED[-1].models(f"s3://{BUCKET}/{order['case']}/")


def spec(name: str, change: int = 0) -> EndpointSpec:
    """An endpoint; another change needs another configuration."""
    return EndpointSpec.multi_model(
        name=name,
        models=f"s3://{BUCKET}/",
        image="bare",
        role=ROLE,
        instance_type=("ml.m5.large", "ml.m5.xlarge")[change],
        environment={"CHANGE": str(change)},
        autoscaling=Autoscaling(min=1, max=2, target=100.0),
    )


def register(order: dict[str, Any]) -> None:
    say(uri=models(order).register("m", order["sources"][0], "v1").uri)


def register_many(order: dict[str, Any]) -> None:
    sources = {f"m{number}": source for number, source in enumerate(order["sources"])}
    models(order).register_many(sources)


def estimator(order: dict[str, Any]) -> None:
    from sklearn.dummy import DummyClassifier

    models(order).register("m", DummyClassifier().fit([[0], [1]], [0, 1]), "v1")


def aliases(order: dict[str, Any]) -> None:
    there = models(order)
    there.alias("m", "live", "v1")
    there.alias("m", "live", "v2")
    there.alias("m", "canary", {"v1": 0.9, "v2": 0.1})
    there.rollback("m", "live")
    there.unalias("m", "canary")
    there.alias("m", "live", "v2", expected="v1")


def delete(order: dict[str, Any]) -> None:
    there = models(order)
    there.delete("m", "v1")
    there.prune(1)
    with contextlib.suppress(ModelNotFoundError):
        there.delete("m", "v2")
    there.unalias("m", "live")
    there.delete("m")


def create(order: dict[str, Any]) -> None:
    OPENED[-1].endpoints.create(spec(order["case"]), check=False, timeout=120)
    say(in_service=True)


def apply(order: dict[str, Any]) -> None:
    OPENED[-1].endpoints.apply(spec(order["case"], 1), timeout=120)
    say(applied=True)


def rollback(order: dict[str, Any]) -> None:
    OPENED[-1].endpoint(order["case"]).rollback()
    say(rolled_back=True)


def remove(order: dict[str, Any]) -> None:
    OPENED[-1].endpoints.delete(order["case"], timeout=120)
    say(removed=True)


def many(order: dict[str, Any]) -> None:
    results = (
        OPENED[-1]
        .endpoint(SHARED)
        .invoke_many(
            range(ITEMS),
            model_of=lambda number: f"shared/{number % 3}.tar.gz",
            data_of=lambda number: [number],
            settings=BatchSettings(max_concurrency=4, ordered=order["ordered"]),
            checkpoint=order["checkpoint"],
        )
    )
    for result in results:
        say(dealt=result.index, value=result.value, error=str(result.error or ""))


def leases(order: dict[str, Any]) -> None:
    held = FileLeases(Path(order["folder"], "leases.db"))
    for number in range(LEASES):
        if held.take("e", f"m{number}", seconds=600):
            say(taken=number)
        held.keep("e", f"m{number}", seconds=600)
        if number % 3 == 0:
            say(dropping=number)
            held.drop("e", f"m{number}")


def estimates(order: dict[str, Any]) -> None:
    learned = LoadTimes()
    for number in range(LEASES):
        learned.observe("e", f"m{number}", 1.0 + number)
        learned.save(Path(order["folder"], "loads.json"))
        say(saved=number + 1)


SCENARIOS: dict[str, Callable[[dict[str, Any]], None]] = {
    "register": register,
    "register in parts": register,
    "register_many": register_many,
    "register an estimator": estimator,
    "aliases": aliases,
    "delete": delete,
    "create": create,
    "apply": apply,
    "rollback": rollback,
    "remove": remove,
    "invoke_many": many,
    "leases": leases,
    "estimates": estimates,
}
