"""Checks of a single-model endpoint in service."""

from __future__ import annotations

import json
from typing import Any

from mme_sdk.conformance.account import Account
from mme_sdk.conformance.check import check, expect, expect_refusal


@check("1.2", "A single-model endpoint answers without TargetModel.", needs="single_model")
def one_model(account: Account) -> Any:
    reply = account.invoke(account.single_model, "{}", ContentType="application/json")
    body = json.loads(reply["Body"].read())
    return expect(body["answer"] == "one", body)


@check("4.3", "TargetModel on a single-model endpoint: it is not a multi-model endpoint.", needs="single_model")
def a_target_model_for_one_model(account: Account) -> Any:
    return expect_refusal(
        account,
        lambda: account.invoke(account.single_model, TargetModel="a.tar.gz"),
        code="ValidationError",
        words=("is not a multi-model endpoint",),
    )


@check("11.2", "A script gets text for application/json and text/csv.", needs="single_model")
def text_for_json(account: Account) -> Any:
    reply = account.invoke(account.single_model, '{"é": 1}'.encode(), ContentType="application/json")
    body = json.loads(reply["Body"].read())
    return expect(body["characters"] == 8, body)


@check("4.1", "InvokeEndpoint takes a body of 5 MB.", needs="single_model")
def a_large_body(account: Account) -> Any:
    reply = account.invoke(account.single_model, b"1" * (5 << 20), ContentType="text/csv")
    body = json.loads(reply["Body"].read())
    return expect(body["characters"] == 5 << 20, body)
