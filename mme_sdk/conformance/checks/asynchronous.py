"""Checks of an endpoint with asynchronous inference."""

from __future__ import annotations

import json
from typing import Any

from mme_sdk.conformance.account import Account
from mme_sdk.conformance.check import check, expect, expect_refusal
from mme_sdk.types import S3Uri

INVALID = "ValidationError"


def _upload(account: Account, key: str, body: bytes, content_type: str) -> str:
    account.s3.put_object(Bucket=account.bucket, Key=key, Body=body, ContentType=content_type)
    return f"s3://{account.bucket}/{key}"


def _object(account: Account, location: str) -> bytes | None:
    at = S3Uri.parse(location)
    try:
        body: bytes = account.s3.get_object(Bucket=at.bucket, Key=at.key)["Body"].read()
    except account.ClientError:
        return None
    return body


@check("12.1", "InvokeEndpoint on an endpoint with asynchronous inference: ValidationError.", needs="async")
def a_synchronous_call(account: Account) -> Any:
    return expect_refusal(account, lambda: account.invoke(account.asynchronous), code=INVALID)


@check("12.2", "InvokeEndpointAsync writes the answer to OutputLocation.", needs="async", minutes=5)
def an_answer_in_s3(account: Account) -> Any:
    location = _upload(account, "input/good.json", b"{}", "application/json")
    sent = account.runtime.invoke_endpoint_async(EndpointName=account.asynchronous, InputLocation=location)
    body = account.until(lambda: _object(account, sent["OutputLocation"]), timeout=240)
    seen = {
        "answer": json.loads(body)["answer"] if body else None,
        "content_type": json.loads(body or b"{}").get("content_type"),
    }
    return expect(seen == {"answer": "one", "content_type": "application/json"}, seen)


@check("12.3", "A failed request writes a note to FailureLocation.", needs="async", minutes=5)
def a_failure_in_s3(account: Account) -> Any:
    location = _upload(account, "input/bad.json", b"fail", "application/json")
    sent = account.runtime.invoke_endpoint_async(EndpointName=account.asynchronous, InputLocation=location)
    expect("FailureLocation" in sent, sorted(sent))
    note = account.until(lambda: _object(account, sent["FailureLocation"]), timeout=240)
    return expect(bool(note), {"note": (note or b"").decode("utf-8", "replace")[:300]})


@check("12.4", "InvokeEndpointAsync takes InputLocation or Body, not both.", needs="async")
def both_inputs(account: Account) -> Any:
    location = _upload(account, "input/good.json", b"{}", "application/json")
    return expect_refusal(
        account,
        lambda: account.runtime.invoke_endpoint_async(
            EndpointName=account.asynchronous, InputLocation=location, Body=b"{}"
        ),
        code=INVALID,
    )


@check("12.4", "InvokeEndpointAsync takes an inline Body.", needs="async", minutes=5)
def an_inline_body(account: Account) -> Any:
    sent = account.runtime.invoke_endpoint_async(
        EndpointName=account.asynchronous, Body=b"{}", ContentType="application/json"
    )
    body = account.until(lambda: _object(account, sent["OutputLocation"]), timeout=240)
    return expect(bool(body), {"answered": bool(body)})
