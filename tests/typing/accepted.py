"""What users write: a type checker must accept every line. Never run."""

from __future__ import annotations

from typing import Any, assert_type

import attrs
import boto3
import pydantic

from mme_sdk import (
    AsyncMMEClient,
    Autoscaling,
    Endpoint,
    EndpointSpec,
    MMEClient,
    ModelVersion,
    Reply,
    RetryPolicy,
    Timeouts,
    errors,
)
from mme_sdk.protocols import AsyncModelStore, ModelStore
from mme_sdk.registry.store import ObjectOptions
from mme_sdk.runtime import AsyncRuntimeInvoker, BatchSettings, InvokeOptions, ItemResult, RuntimeInvoker, TritonCodec


class Score(pydantic.BaseModel):
    value: float


def clients(session: boto3.Session) -> None:
    MMEClient()
    MMEClient(region="eu-west-1", timeouts=Timeouts(deadline=30), retry=RetryPolicy(fault_attempts=2))
    MMEClient(session=session, endpoint_url={"s3": "http://127.0.0.1:1", "*": "http://127.0.0.1:2"})
    assert_type(MMEClient().with_options(transport="botocore"), MMEClient)
    assert_type(AsyncMMEClient().with_options(region=None, timeouts=Timeouts(deadline=5)), AsyncMMEClient)
    assert_type(attrs.evolve(Timeouts(), read=5), Timeouts)


def registry(client: MMEClient) -> None:
    models = client.models("s3://ml-models/prod/")
    client.models("s3://ml-models/prod/", options=ObjectOptions(kms_key="alias/ml"), staleness=1)
    fraud = models.register("fraud", "build/fraud/", version="v3")
    assert_type(fraud, ModelVersion)
    assert_type(fraud.target_model, str)
    for version in models.list():
        assert_type(version, ModelVersion)
    models.delete("fraud", "v3", dry_run=True)


def endpoints(client: MMEClient) -> None:
    spec = EndpointSpec.multi_model(
        name="scoring",
        models="s3://ml-models/prod/",
        image="sklearn:1",
        role="arn:aws:iam::123456789012:role/sm",
        instance_type="ml.m5.large",
        instance_count=2,
        autoscaling=Autoscaling(min=2, max=8),
    )
    endpoint = client.endpoints.create(spec, timeout=900)
    assert_type(endpoint, Endpoint)
    assert_type(client.endpoint("scoring"), Endpoint)
    assert_type(client.endpoints.get("scoring"), Endpoint)
    endpoint.delete()


def invoke(endpoint: Endpoint, fraud: ModelVersion) -> None:
    reply = endpoint.invoke({"amount": 12.5}, model=fraud, deadline=30)
    assert_type(reply.body, bytes)
    assert_type(reply.attempts, int)
    assert_type(reply.cold, bool | None)
    assert_type(reply.latency, float)
    assert_type(reply.variant, str | None)
    endpoint.invoke(b"1,2", model="fraud/v3.tar.gz", content_type="text/csv")
    endpoint.invoke("1,2", model="fraud@live")
    assert_type(reply, Reply[Any])
    assert_type(endpoint.invoke({}, response_type=None), Reply[Any])
    assert_type(endpoint.invoke({}, response_type=Score), Reply[Score])
    assert_type(endpoint.invoke({}, response_type=Score, model=fraud, idempotent=True).value, Score)
    assert_type(endpoint.invoke({}, response_type=list[int]).value, list[int])
    assert_type(endpoint.invoke({}, response_type=TritonCodec()).value, Any)
    for result in endpoint.invoke_many(["a", "b"], model_of=lambda text: text, settings=BatchSettings(ordered=False)):
        assert_type(result, ItemResult[str])
        assert_type(result.item, str)
    assert_type(endpoint.warm([fraud]).loaded, tuple[str, ...])
    with endpoint.invoke_stream({"prompt": "Hi"}) as stream:
        for chunk in stream:
            assert_type(chunk, bytes)
    endpoint.invoke_async({}, upload_to="s3://ml-payloads/in/").result(timeout=60)


async def awaited(client: AsyncMMEClient) -> None:
    async with client:
        endpoint = await client.endpoints.get("scoring")
        reply = await endpoint.invoke({"amount": 12.5}, model="fraud/v3.tar.gz")
        assert_type(reply.attempts, int)
        assert_type(reply, Reply[Any])
        assert_type(await endpoint.invoke({}, response_type=Score), Reply[Score])
        async for result in endpoint.invoke_many([1, 2]):
            assert_type(result, ItemResult[int])
        async with await endpoint.invoke_stream({"prompt": "Hi"}) as stream:
            async for chunk in stream:
                assert_type(chunk, bytes)


def protocols(sync: RuntimeInvoker, twin: AsyncRuntimeInvoker, client: MMEClient) -> None:
    store: ModelStore = client.models("s3://ml-models/prod/")
    async_store: AsyncModelStore = AsyncMMEClient().models("s3://ml-models/prod/")
    sync.invoke("scoring", b"1", "fraud/v3.tar.gz", InvokeOptions(deadline=5, accept="text/csv"))
    print(store, async_store, twin.invoke("scoring", b"1"))


def facts(error: errors.MMEError, reply: Reply[Any]) -> None:
    assert_type(error.sent, bool | None)
    assert_type(error.fault, errors.Fault)
    assert_type(error.retry_after, float | None)
    assert_type(reply.text, str)
