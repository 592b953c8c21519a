"""Test that the host accepts the signatures of botocore and refuses missing, wrong and old ones."""

from __future__ import annotations

import hashlib
import http.client
import json
from datetime import UTC, datetime, timedelta

import boto3
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.compat import HTTPHeaders
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from mme_sdk.local.wire.errors import ApiError
from mme_sdk.local.wire.signing import SignatureVerifier, VerifiedSignature

CHECK = SignatureVerifier("AK", "secret", "us-east-1")
PATH = "/endpoints/a%20b/invocations"


def signed(*, secret="secret", region="us-east-1", at=None, path=PATH, body=b"payload", monkeypatch, **headers):
    request = AWSRequest(method="POST", url=f"http://127.0.0.1:4567{path}", data=body, headers=headers)
    if at is not None:
        monkeypatch.setattr("botocore.auth.get_current_datetime", lambda: at, raising=False)
        fixed = type("Fixed", (datetime,), {"utcnow": classmethod(lambda cls: at)})  # for botocore 1.40
        monkeypatch.setattr("botocore.auth.datetime", type("Module", (), {"datetime": fixed}))
    SigV4Auth(Credentials("AK", secret), "sagemaker", region).add_auth(request)
    monkeypatch.undo()
    prepared = {name.lower(): value for name, value in request.headers.items()}
    return prepared | {"host": "127.0.0.1:4567"}


def verify(method: str, path: str, headers: dict[str, str], body: bytes) -> VerifiedSignature:
    return CHECK.verify_headers(method, path, headers).verify_body(hashlib.sha256(body).hexdigest())


def test_what_botocore_signs_is_accepted(monkeypatch):
    headers = signed(monkeypatch=monkeypatch, **{"X-Amzn-SageMaker-Target-Model": "a  b.tar.gz", "Content-Type": "x/y"})
    accepted = verify("POST", PATH, headers, b"payload")
    assert (accepted.service, accepted.access_key, accepted.region) == ("sagemaker", "AK", "us-east-1")
    query = "/endpoints?b=2&a=1%2F"
    assert verify("POST", query, signed(monkeypatch=monkeypatch, path=query), b"payload")
    unsigned = signed(monkeypatch=monkeypatch, **{"X-Amz-Content-SHA256": "UNSIGNED-PAYLOAD"})
    assert verify("POST", PATH, unsigned, b"anything")


TARGETS = ["/", "/a/./b", "/a/../b", "//a", "/a//b/", "/a%2Fb", "/a+b", "/~a-b_c.d", "/a?", "/a?b", "/a?b=", "/a?b=%20"]


@pytest.mark.parametrize("path", [*TARGETS, "/a?b=2&b=1&a", "/a?b=c=d", "/a%E2%82%AC", "/a?b=%2B", "/a:b@c!"])
def test_every_form_of_a_target_is_signed_as_botocore_signs_it(path, monkeypatch):
    headers = signed(monkeypatch=monkeypatch, path=path, **{"X-Amzn-SageMaker-Target-Model": " a   b "})
    assert verify("POST", path, headers, b"payload")
    with pytest.raises(ApiError):
        verify("POST", f"{path}x", headers, b"payload")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"drop": "authorization"}, "MissingAuthenticationToken"),
        ({"authorization": "Bearer x"}, "IncompleteSignature"),
        ({"body": b"another"}, "InvalidSignatureException"),
        ({"path": "/endpoints/other/invocations"}, "InvalidSignatureException"),
        ({"method": "GET"}, "InvalidSignatureException"),
        ({"content-type": "changed/type"}, "InvalidSignatureException"),
        ({"drop": "content-type"}, "InvalidSignatureException"),
        ({"x-amz-date": "yesterday"}, "IncompleteSignature"),
        ({"secret": "wrong"}, "InvalidSignatureException"),
        ({"region": "eu-west-1"}, "InvalidSignatureException"),
        ({"minutes": -6}, "InvalidSignatureException"),
        ({"minutes": 6}, "InvalidSignatureException"),
    ],
)
def test_anything_else_is_403(change, code, monkeypatch):
    at = datetime.now(UTC) + timedelta(minutes=change.pop("minutes", 0))
    headers = signed(
        monkeypatch=monkeypatch,
        secret=change.pop("secret", "secret"),
        region=change.pop("region", "us-east-1"),
        at=at,
        **{"Content-Type": "x/y"},
    )
    headers.pop(change.pop("drop", None), None)
    method, path, body = change.pop("method", "POST"), change.pop("path", PATH), change.pop("body", b"payload")
    with pytest.raises(ApiError) as caught:
        verify(method, path, headers | change, body)
    assert (caught.value.status, caught.value.code) == (403, code)


def test_a_hash_that_is_signed_but_not_of_the_body_is_403(monkeypatch):
    digest = hashlib.sha256(b"payload").hexdigest()
    headers = signed(monkeypatch=monkeypatch, **{"X-Amz-Content-SHA256": digest})
    assert verify("POST", PATH, headers, b"payload")
    with pytest.raises(ApiError, match="does not match the body"):
        verify("POST", PATH, headers, b"another")


def test_a_host_that_is_not_signed_is_403(monkeypatch):
    def only_the_date(_, request):
        return HTTPHeaders.from_pairs([("x-amz-date", request.headers["X-Amz-Date"])])

    monkeypatch.setattr(SigV4Auth, "headers_to_sign", only_the_date)
    headers = signed(monkeypatch=monkeypatch)
    with pytest.raises(ApiError, match="Signed headers are missing: host"):
        verify("POST", PATH, headers, b"payload")


def test_four_minutes_off_is_fine(monkeypatch):
    at = datetime.now(UTC) - timedelta(minutes=4)
    assert verify("POST", PATH, signed(monkeypatch=monkeypatch, at=at), b"payload")


def test_clients_see_403_and_the_secret_is_nowhere(plane):
    bad = boto3.client(
        "sagemaker",
        endpoint_url=plane.endpoint_url,
        region_name="us-east-1",
        aws_access_key_id=plane.credentials.access_key,
        aws_secret_access_key="wrong",
    )
    with pytest.raises(ClientError, match="signature we calculated does not match") as caught:
        bad.list_models()
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403
    bad.close()
    connection = http.client.HTTPConnection("127.0.0.1", plane.port)
    connection.request("POST", "/", body=b"{}", headers={"X-Amz-Target": "SageMaker.ListModels"})
    answer = connection.getresponse()
    assert (answer.status, json.loads(answer.read())["__type"]) == (403, "MissingAuthenticationToken")
    connection.close()
    assert plane.credentials.secret_key not in repr(plane) + repr(plane.credentials)
