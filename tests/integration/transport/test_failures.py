"""Exceptions of botocore, urllib3, http.client and credential providers become errors of the SDK."""
# ruff: noqa: E501 - a table

from __future__ import annotations

import datetime
import json
import time
from email.utils import format_datetime
from typing import Any

import boto3
import botocore.exceptions as bc
import pytest
from botocore.credentials import RefreshableCredentials

from mme_sdk.aws import Aws
from mme_sdk.aws.error_translation import translate
from mme_sdk.aws.session import Aws as Way
from mme_sdk.aws.signature_errors import explain_refusal
from mme_sdk.errors import AccessDeniedError, ConfigurationError, MMEError, NotSentError, OutcomeUnknownError
from mme_sdk.runtime import InvokeOptions, RuntimeInvoker
from mme_sdk.runtime.retry.answers import error_fields, error_of
from mme_sdk.runtime.transport import make_transport
from mme_sdk.runtime.transport_interface import InvokeResponse
from tests.integration.transport.test_behaviour import REQUEST
from tests.integration.transport.test_pools import Clock
from tests.support.transport.answers import OK
from tests.support.transport.fixtures import Driver, aws_at
from tests.support.transport.raw_server import RawServer
from tests.support.transport.server import ACCESS, REGION, SECRET, TOKEN

KINDS: list[type[Exception]] = [ValueError, OverflowError, RuntimeError, KeyError, OSError, UnicodeError, TypeError]


def session_with(provider: Any) -> boto3.Session:
    """A session whose credentials come from a function, and must be asked for at once."""
    session = boto3.Session(region_name=REGION)
    then = datetime.datetime.now(datetime.UTC) - datetime.timedelta(hours=1)
    credentials = RefreshableCredentials(ACCESS, SECRET, TOKEN, then, provider, "custom")
    session._session._credentials = credentials
    return session


@pytest.mark.parametrize("raised", KINDS)
def test_what_a_credential_provider_raises_is_a_configuration_error(kind: str, raised: type[Exception]) -> None:
    def provider() -> Any:
        raise raised("the vault is sealed")

    driver = Driver(kind, Aws(session=session_with(provider), region=REGION, endpoint_url="http://127.0.0.1:1"))
    with pytest.raises(ConfigurationError, match="the vault is sealed") as caught:
        driver.send(REQUEST)
    assert caught.value.sent is False
    driver.close()


def test_credentials_that_fail_later_are_a_configuration_error(kind: str) -> None:
    """The provider first returns credentials that must be refreshed at once, then raises an error."""
    given: list[int] = []

    def provider() -> Any:
        given.append(1)
        if len(given) > 1:
            raise RuntimeError("the vault is sealed")
        expiry = datetime.datetime.now(datetime.UTC) + datetime.timedelta(
            minutes=5
        )  # botocore refreshes ten minutes before the expiry
        return {"access_key": ACCESS, "secret_key": SECRET, "token": TOKEN, "expiry_time": expiry.isoformat()}

    with RawServer(OK + b"Content-Length: 2\r\n\r\nok") as server:
        clock = Clock(time.time())
        driver = Driver(kind, Aws(session=session_with(provider), region=REGION, endpoint_url=server.url, clock=clock))
        with pytest.raises(ConfigurationError, match="the vault is sealed"):
            send_until_it_fails(driver, clock)
        driver.close()


def send_until_it_fails(driver: Driver, clock: Clock) -> None:
    for _ in range(5):
        driver.send(REQUEST)
        clock.now += 2  # the pool reads the credentials again after a second


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:99999", "http://[::1", "http://", "ftp://127.0.0.1", "127.0.0.1", "http://a b", "http://\u2100/",
     "http://" + "a" * 300 + ".test", "http://..", "http://a..b/"],
)  # fmt: skip
def test_an_invalid_endpoint_url(kind: str, url: str) -> None:
    driver = Driver(kind, Aws(session=boto3.Session(ACCESS, SECRET, region_name=REGION), endpoint_url=url))
    with pytest.raises((ConfigurationError, NotSentError)) as caught:
        driver.send(REQUEST)
    assert caught.value.sent is False
    driver.close()


def test_secrets_with_a_line_break_are_refused_and_not_shown(kind: str) -> None:
    token = "topsecrettoken\nX-Evil: 1"
    with RawServer(OK + b"Content-Length: 2\r\n\r\nok") as server:
        session = boto3.Session(ACCESS, SECRET, token, region_name=REGION)
        driver = Driver(kind, Aws(session=session, endpoint_url=server.url))
        with pytest.raises(ConfigurationError) as caught:
            driver.send(REQUEST)
        shown: BaseException | None = caught.value
        while shown is not None:
            assert "topsecret" not in str(shown)
            shown = shown.__cause__
        assert server.requests == 0
        driver.close()


def test_a_proxy_that_rejects_the_request(monkeypatch: pytest.MonkeyPatch) -> None:
    with RawServer(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n") as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        for kind in ("botocore", "botocore-async"):
            driver = Driver(kind, Aws(session=boto3.Session(ACCESS, SECRET, region_name=REGION)))
            with pytest.raises(NotSentError):
                driver.send(REQUEST)
            driver.close()


FAILURES: list[tuple[Exception, type[MMEError], str]] = [
    (bc.SSOTokenLoadError(error_msg="no token"), ConfigurationError, "aws sso login"),
    (bc.UnauthorizedSSOTokenError(), ConfigurationError, "aws sso login"),
    (bc.TokenRetrievalError(provider="sso", error_msg="expired"), ConfigurationError, "aws sso login"),
    (bc.CredentialRetrievalError(provider="custom-process", error_msg="exit 3"), ConfigurationError, "exit 3"),
    (bc.PartialCredentialsError(provider="env", cred_var="AWS_SECRET_ACCESS_KEY"), ConfigurationError, "AWS_SECRET"),
    (bc.ProfileNotFound(profile="prod"), ConfigurationError, "the AWS profile 'prod' is not in"),
    (bc.ProxyConnectionError(proxy_url="http://p", error="x"), NotSentError, "proxy"),
    (bc.SSLError(endpoint_url="https://h", error="self-signed"), NotSentError, "self-signed"),
    (bc.HTTPClientError(error=ValueError("Invalid header value b'topsecret'")), ConfigurationError, "line break"),
    (ValueError("Invalid header value b'topsecret'"), ConfigurationError, "line break"),
    (bc.HTTPClientError(error=OverflowError("timeout doesn't fit")), OutcomeUnknownError, "timeout"),
    (ValueError("Invalid endpoint: x"), ConfigurationError, "Invalid endpoint"),
]  # fmt: skip


@pytest.mark.parametrize(("error", "kind", "said"), FAILURES, ids=lambda value: getattr(value, "__name__", None))
def test_each_failure_has_a_hint(error: Exception, kind: type[MMEError], said: str) -> None:
    ours = translate(error, "sagemaker-runtime", "invoke_endpoint", {"EndpointName": "scoring"})
    assert type(ours) is kind
    assert said in str(ours)
    assert "scoring" in str(ours)
    assert "topsecret" not in str(ours)


NOW = 1_800_000_000.0
EARLY = format_datetime(datetime.datetime.fromtimestamp(NOW + 3600, datetime.UTC), usegmt=True)
SAME = format_datetime(datetime.datetime.fromtimestamp(NOW, datetime.UTC), usegmt=True)
EXPIRED = "Signature expired: 20270115T070000Z is now earlier than 20270115T075500Z (20270115T080000Z - 5 min.)"
NO_MATCH = "The request signature we calculated does not match the signature you provided."
REFUSALS: list[tuple[str, str, str | None, type[MMEError] | None, str]] = [
    ("RequestTimeTooSkewed", "The difference between the request time and the current time is too large.", EARLY, ConfigurationError, "60 min (behind)"),
    ("InvalidSignatureException", EXPIRED, EARLY, ConfigurationError, "clock"),
    ("InvalidSignatureException", EXPIRED, None, ConfigurationError, "clock"),
    ("InvalidSignatureException", "Signature not yet current: x", "garbage", ConfigurationError, "clock"),
    ("InvalidSignatureException", NO_MATCH, EARLY, ConfigurationError, "clock"),
    ("RequestExpired", "Request has expired.", SAME, ConfigurationError, "clock"),
    ("InvalidSignatureException", NO_MATCH, SAME, AccessDeniedError, "secret access key"),
    ("SignatureDoesNotMatch", NO_MATCH, None, AccessDeniedError, "secret access key"),
    ("InvalidSignatureException", "Credential should be scoped to a valid region, not 'us-east-1'.", SAME, ConfigurationError, "another region"),
    ("SignatureDoesNotMatch", "Credential should be scoped to correct service: 'sagemaker'.", SAME, ConfigurationError, "another region"),
    ("ExpiredTokenException", "The security token included in the request is expired", SAME, AccessDeniedError, "has expired"),
    ("ExpiredToken", "The provided token has expired.", SAME, AccessDeniedError, "has expired"),
    ("UnrecognizedClientException", "The security token included in the request is invalid.", SAME, AccessDeniedError, "not valid"),
    ("InvalidClientTokenId", "The security token included in the request is invalid.", SAME, AccessDeniedError, "not valid"),
    ("MissingAuthenticationTokenException", "Missing Authentication Token", SAME, AccessDeniedError, "without a signature"),
    ("AccessDeniedException", "User: x is not authorized to perform: sagemaker:InvokeEndpoint", SAME, None, "sagemaker:InvokeEndpoint"),
    ("AccessDeniedException", "User: x is not authorized to perform: sagemaker:InvokeEndpoint", EARLY, None, "sagemaker:InvokeEndpoint"),
]  # fmt: skip


@pytest.mark.parametrize(("code", "said", "date", "kind", "shown"), REFUSALS)
def test_every_transport_explains_a_rejected_signature_in_the_same_way(
    code: str, said: str, date: str | None, kind: type[MMEError] | None, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mme_sdk.aws.error_translation.time.time", lambda: NOW)
    headers = {"x-amzn-errortype": code} | ({"date": date} if date else {})
    answer = InvokeResponse(status=403, headers=headers, body=json.dumps({"message": said}).encode())
    lean = error_of(error_fields(answer), endpoint="scoring", model=None, now=NOW)
    response = {
        "Error": {"Code": code, "Message": said},
        "ResponseMetadata": {"HTTPStatusCode": 403, "HTTPHeaders": headers},
    }
    plain = translate(bc.ClientError(response, "InvokeEndpoint"), "sagemaker-runtime", "invoke_endpoint", {})
    for error in (lean, plain):
        assert type(error) is (kind or AccessDeniedError)
        assert shown in str(error)
        assert (error.sent, error.code, error.status) == (True, code, 403)
        if kind is not None:
            assert "grant" not in str(error)
            assert "is needed" not in str(error)
    assert (explain_refusal(code, said, date=date, now=NOW) is None) is (kind is None)


def test_every_transport_reports_a_wrong_clock(kind: str) -> None:
    """The service refuses every time that it is given."""
    said = json.dumps({"message": EXPIRED}).encode()
    date = format_datetime(datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=3), usegmt=True)
    wire = (
        f"HTTP/1.1 403 Forbidden\r\nx-amzn-ErrorType: InvalidSignatureException\r\nDate: {date}\r\n"
        f"Content-Length: {len(said)}\r\n\r\n"
    )
    with RawServer(wire.encode() + said) as server:
        driver = Driver(kind, aws_at(server.url))
        answer = driver.send(REQUEST)
        error = error_of(error_fields(answer), endpoint="echo", model=None)
        assert "clock" in str(error)
        assert "3 d (behind)" in str(error)
        assert isinstance(error, ConfigurationError)
        driver.close()


def test_an_invocation_reports_a_wrong_clock() -> None:
    said = json.dumps({"message": NO_MATCH}).encode()
    wire = b"HTTP/1.1 403 F\r\nx-amzn-ErrorType: InvalidSignatureException\r\nContent-Length: %d\r\n\r\n%s" % (
        len(said),
        said,
    )
    for choice in ("fast", "botocore"):
        with RawServer(wire) as server:
            aws: Way = aws_at(server.url)
            transport = make_transport(aws, choice)
            with pytest.raises(AccessDeniedError, match="secret access key"):
                RuntimeInvoker(aws, transport).invoke("echo", b"1", options=InvokeOptions(deadline=30))
            transport.close()
            aws.close()
