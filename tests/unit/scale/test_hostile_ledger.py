"""Objects of a ledger that another program wrote, and addresses that are none."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from mme_sdk.aws import Aws
from mme_sdk.endpoints.collection import Endpoints
from mme_sdk.errors import IntegrityError, InvalidInputError
from mme_sdk.runtime import RuntimeInvoker
from mme_sdk.runtime.ledger.entries import decode, encode
from mme_sdk.runtime.ledger.objects import objects_at
from tests.support.runtime.ledgers import Doubles

KEY = "a" * 40
FACTS: dict[str, Any] = {
    "key": KEY, "bytes": 2, "content_type": "text/csv", "model": "m", "endpoint": "e", "variant": None,
    "request_id": None, "custom_attributes": None,
}  # fmt: skip


def an_object(line: bytes, bodies: bytes = b"ab") -> bytes:
    """Return an object whose checksum is right, whatever it has."""
    content = line + b"\n" + bodies
    return b"mme-ledger 1 " + hashlib.sha256(content).hexdigest().encode() + b"\n" + content


def test_an_object_of_the_ledger_is_read() -> None:
    ((key, reply),) = decode("x", an_object(json.dumps([FACTS]).encode()))
    assert (key, reply.body, reply.model) == (KEY, b"ab", "m")
    assert decode("x", encode([(KEY, reply)]))[0][1].body == b"ab"


@pytest.mark.parametrize(
    "line",
    [b"{{", b"[" * 100_000, b"5", b"null", b"{}", b"[5]", b"[{}]", b"\xff", b'[{"key":"a","bytes":Infinity}]'],
)
def test_a_line_that_describes_no_answers_is_named(line: bytes) -> None:
    with pytest.raises(IntegrityError, match=r"items/7 cannot be used as part of a ledger: its second line"):
        decode("s3://b/items/7", an_object(line))


@pytest.mark.parametrize(
    "change",
    [
        {"bytes": -1}, {"bytes": 3}, {"bytes": 1}, {"bytes": 10**20}, {"bytes": "2"}, {"bytes": 2.0}, {"bytes": True},
        {"bytes": None}, {"key": "zz"}, {"key": 5}, {"key": KEY + "0"}, {"model": [1]}, {"content_type": 5},
        {"endpoint": {}},
    ],
)  # fmt: skip
def test_a_fact_that_is_not_one_of_an_answer_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(IntegrityError, match=r"its second line (describes|does not describe)"):
        decode("x", an_object(json.dumps([{**FACTS, **change}]).encode()))


@pytest.mark.parametrize("address", [None, 5, "", b"x", "a\0b", Path("a\0b"), "\ud800/", "s3://bucket/"])
def test_an_address_that_no_ledger_has_is_refused(address: Any) -> None:
    with pytest.raises(InvalidInputError, match="ledger"):
        objects_at(address)


@pytest.mark.parametrize("checkpoint", [5, b"x", [], {}, "", "http://host/jobs"])
def test_a_checkpoint_that_is_neither_a_file_nor_a_ledger_is_refused(checkpoint: Any) -> None:
    aws = Aws(region="eu-west-3")
    endpoint = Endpoints(aws, lambda: RuntimeInvoker(aws, Doubles())).handle("scoring")
    with pytest.raises(InvalidInputError, match="S3 address"):
        list(endpoint.invoke_many([b"1\n"], model_of=lambda _: "m.tar.gz", checkpoint=checkpoint))
