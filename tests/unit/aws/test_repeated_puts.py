"""RepeatedPuts signs as botocore does, and leaves to botocore what it does not know."""

from __future__ import annotations

import base64
import contextlib
import functools
import hashlib
import io
from typing import Any

import boto3
import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError, ConnectionClosedError, ParamValidationError

from mme_sdk.aws.s3.answers import Answer
from mme_sdk.aws.s3.repeated_puts import RepeatedPuts


class Body(io.BytesIO):
    def __len__(self) -> int:
        return len(self.getvalue())


class Session:
    """The client's HTTP session: `slow` are the requests that botocore prepared, `fast` the others."""

    def __init__(self) -> None:
        self.puts: RepeatedPuts | None = None
        self.slow: list[tuple[Any, bytes]] = []
        self.fast: list[tuple[Any, bytes]] = []
        self.status: list[tuple[int, str]] = []
        self.error: Exception | None = None
        self.headers = {"etag": '"1"'}

    def _next(self) -> Answer:
        if self.error is not None:
            raise self.error
        status, code = self.status.pop(0) if self.status else (200, "")
        text = f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode() if code else b""
        return Answer(status, self.headers, text, closes=False)

    def send(self, request: Any) -> Any:
        assert self.puts is not None
        self.puts.saw(request)
        self.slow.append((request, request.body.read()))
        return self._next().for_botocore(request.url)

    def exchange(self, request: Any) -> Answer:
        self.fast.append((request, request.body.read()))
        return self._next()


@functools.cache
def session_with(token: str | None) -> boto3.Session:
    return boto3.Session("key", "secret", token, region_name="eu-west-1")


def client_at(url: str | None = None, token: str | None = None, **more: Any) -> tuple[Any, Session]:
    client = session_with(token).client(
        "s3",
        endpoint_url=url,
        config=Config(
            retries={"total_max_attempts": 1, "mode": "standard"}, s3={"payload_signing_enabled": False}, **more
        ),
    )
    session = Session()
    client._endpoint.http_session = session
    session.puts = RepeatedPuts(client, session.exchange)
    client.put_object = session.puts.put_object
    return client, session


def arguments(number: int, **more: Any) -> dict[str, Any]:
    content = b"content %d" % number
    return {
        "Bucket": "models",
        "Key": f"prod/a b+c@{number}/v{number}.tar.gz",
        "Body": Body(content),
        "Metadata": {"mme-sha256": str(number), "mme-metadata": f'{{"run":  "{number}"}}'},
        "ContentType": "application/gzip",
        "ChecksumSHA256": base64.b64encode(hashlib.sha256(content).digest()).decode(),
        "IfNoneMatch": "*",
        **more,
    }


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"date": "Sat, 28 Nov 2026 10:00:00 GMT", "server": "AmazonS3", "content-length": "0"},
        {"x-amz-request-id": "R", "x-amz-id-2": "H", "x-amz-version-id": "V", "x-amz-checksum-sha256": "c="},
        {"x-amz-request-id": "R"},
        {"x-amzn-requestid": "N", "x-amz-request-id": "R"},
        {"x-amz-server-side-encryption": "aws:kms", "x-amz-server-side-encryption-bucket-key-enabled": "true"},
        {"x-amz-object-size": "12", "x-amz-expiration": 'expiry-date="x"', "x-amz-request-charged": "requester"},
    ],
)
def test_the_result_is_that_of_botocore(more: dict[str, str]) -> None:
    client, session = client_at()
    session.headers |= more
    first, second = (client.put_object(**arguments(number)) for number in range(2))
    assert (len(session.slow), len(session.fast)) == (1, 1)
    assert second | {"ResponseMetadata": None} == first | {"ResponseMetadata": None}
    about = first["ResponseMetadata"]
    assert about.pop("RetryAttempts") == 0
    assert about.pop("MaxAttemptsReached")  # this client makes one attempt
    assert second["ResponseMetadata"] == about


def test_over_http_each_body_is_signed() -> None:
    """Over HTTP to another machine, botocore signs bodies. The digest of each is that of its own checksum."""
    client, session = client_at("http://s3.example.com")
    client.meta.config.s3.pop("payload_signing_enabled")
    for number in range(3):
        client.put_object(**arguments(number))
    assert (len(session.slow), len(session.fast)) == (1, 2)
    for number, (request, content) in enumerate(session.fast, 1):
        assert request.headers["x-amz-content-sha256"] == hashlib.sha256(b"content %d" % number).hexdigest()
        assert hashlib.sha256(content).hexdigest() == request.headers["x-amz-content-sha256"]
        assert request.headers["authorization"].endswith(f"Signature={signature(request, None)}")


def signature(request: Any, token: str | None) -> str:
    """Return the signature that botocore computes for the headers that were sent."""
    auth = S3SigV4Auth(Credentials("key", "secret", token), "s3", "eu-west-1")
    headers = {name: value for name, value in request.headers.items() if name.lower() != "authorization"}
    signed = request.headers["authorization"].partition("SignedHeaders=")[2].partition(",")[0].split(";")
    again = AWSRequest("PUT", request.url, {name: headers[name] for name in signed if name != "host"}, b"")
    again.context["timestamp"] = headers["x-amz-date"]
    again.context["client_config"] = Config(s3={"payload_signing_enabled": False})
    return str(auth.signature(auth.string_to_sign(again, auth.canonical_request(again)), again))


@pytest.mark.parametrize(
    ("url", "token"), [(None, "a-token"), ("http://127.0.0.1:8333", None), ("https://s3.example.com", "a-token")]
)
def test_later_requests_are_what_botocore_would_send(url: str | None, token: str | None) -> None:
    client, session = client_at(url, token)
    for number in range(3):
        assert client.put_object(**arguments(number))["ETag"] == '"1"'
    assert (len(session.slow), len(session.fast)) == (1, 2)
    for number, (request, content) in enumerate(session.fast, 1):
        assert content == b"content %d" % number
        assert request.url.endswith(f"/prod/a%20b%2Bc%40{number}/v{number}.tar.gz")
        assert request.headers["x-amz-meta-mme-sha256"] == str(number)
        assert request.headers["if-none-match"] == "*"
        assert request.headers["x-amz-checksum-sha256"] == arguments(number)["ChecksumSHA256"]
        assert request.headers.get("x-amz-security-token") == token
        assert request.headers["authorization"].endswith(f"Signature={signature(request, token)}")
    first = {name.lower() for name in session.slow[0][0].headers} - {"expect"}
    assert {name.lower() for name in session.fast[0][0].headers} == first


@pytest.mark.parametrize(
    "more",
    [
        {"Key": "prod/../secret"},
        {"Key": "prod//a"},
        {"Key": "prod/é"},
        {"Body": Body(b"")},
        {"Metadata": {"mme-sha256": "é", "mme-metadata": "1"}},
        {"Tagging": "team=ml"},
        {"Metadata": {"mme-sha256": "1"}},
    ],
)
def test_what_differs_in_another_way_stays_with_botocore(more: dict[str, Any]) -> None:
    client, session = client_at()
    client.put_object(**arguments(1))
    with contextlib.suppress(ParamValidationError):  # metadata that is not ASCII
        client.put_object(**arguments(2, **more))
    assert not session.fast


def test_a_handler_of_other_code_sees_every_request() -> None:
    client, session = client_at()
    client.put_object(**arguments(1))
    seen: list[str] = []
    client.meta.events.register("before-send.s3.PutObject", lambda request, **_: seen.append(request.url))
    client.put_object(**arguments(2))
    assert len(seen) == 1
    assert not session.fast


def test_a_signature_that_differs_from_botocore_is_never_sent() -> None:
    client, session = client_at(signature_version="s3")
    for number in range(3):
        client.put_object(**arguments(number))
    assert (len(session.slow), len(session.fast)) == (3, 0)


@pytest.mark.parametrize(
    ("status", "code"),
    [(412, "PreconditionFailed"), (409, "ConditionalRequestConflict"), (503, "SlowDown"), (500, "InternalError")],
)
def test_a_refusal_is_raised_as_botocore_raises_it(status: int, code: str) -> None:
    client, session = client_at()
    client.put_object(**arguments(1))
    session.status = [(status, code)]
    with pytest.raises(ClientError) as raised:
        client.put_object(**arguments(2))
    assert raised.value.response["Error"]["Code"] == code
    assert raised.value.response["ResponseMetadata"]["HTTPStatusCode"] == status
    assert (len(session.slow), len(session.fast)) == (1, 1)


def test_other_refusals_are_left_to_botocore_with_the_whole_body() -> None:
    client, session = client_at()
    client.put_object(**arguments(1))
    session.status = [(403, "ExpiredToken")]
    assert client.put_object(**arguments(2))["ETag"] == '"1"'
    assert [content for _, content in session.slow] == [b"content 1", b"content 2"]


def test_a_lost_connection_is_not_sent_twice() -> None:
    client, session = client_at()
    client.put_object(**arguments(1))
    session.error = ConnectionClosedError(endpoint_url="https://s3")
    with pytest.raises(ConnectionClosedError):
        client.put_object(**arguments(2))
    assert (len(session.slow), len(session.fast)) == (1, 1)


def test_a_first_request_that_fails_teaches_nothing() -> None:
    client, session = client_at()
    session.status = [(412, "PreconditionFailed")]
    with pytest.raises(ClientError):
        client.put_object(**arguments(1))
    client.put_object(**arguments(2))
    client.put_object(**arguments(3))
    assert (len(session.slow), len(session.fast)) == (2, 1)
