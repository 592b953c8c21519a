"""Every transport with the embedded SageMaker, which verifies signatures with its own code."""

from __future__ import annotations

import asyncio
from typing import Any

import attrs
import boto3
import pytest

from mme_sdk.aws import Aws
from mme_sdk.local import LocalSageMaker
from mme_sdk.runtime.retry.answers import error_fields
from mme_sdk.runtime.transport import make_async_transport, make_transport
from mme_sdk.runtime.transport_interface import InvokeRequest, InvokeResponse
from tests.support.transport.fixtures import TRANSPORTS

REQUEST = InvokeRequest(
    endpoint="absent",
    body=b"\x00\xff" * 500,
    content_type="application/x-npy",
    accept="application/json",
    target_model="fraud/v 3+ü%20.tar.gz",
    custom_attributes="a=b;  c\td",
    inference_id="i-1",
    invocation_id="11111111-2222-3333-4444-555555555555",
)
TIMES = {"connect_timeout": 60.0, "read_timeout": 60.0}  # no call here waits for a time-out


def send(kind: str, aws: Aws, request: InvokeRequest) -> InvokeResponse:
    choice, _, twin = kind.partition("-")
    if not twin:
        transport = make_transport(aws, choice)
        try:
            return transport.send(request, **TIMES)
        finally:
            transport.close()

    async def once() -> InvokeResponse:
        other = make_async_transport(aws, choice)
        try:
            return await other.send(request, **TIMES)
        finally:
            await other.close()

    return asyncio.run(once())


@pytest.mark.parametrize("kind", TRANSPORTS)
def test_signatures_are_valid_for_all_headers(kind: str, aws: Aws) -> None:
    for request in (REQUEST, attrs.evolve(REQUEST, body=b"", custom_attributes=None)):
        answer = send(kind, aws, request)
        said = error_fields(answer)
        assert (said.status, said.code) == (400, "ValidationError")
        assert said.message.startswith("Endpoint absent of account")


@pytest.mark.parametrize("kind", TRANSPORTS)
def test_a_wrong_secret_is_rejected(kind: str, local: LocalSageMaker) -> None:
    good: Any = local.session().get_credentials()
    wrong = boto3.Session(good.access_key, "another", region_name=local.region)
    aws = Aws(session=wrong, endpoint_url=local.endpoint_urls)
    answer = send(kind, aws, REQUEST)
    aws.close()
    assert answer.status == 403
