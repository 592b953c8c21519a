"""The selection of a transport, its reason, and the address that botocore would use."""

from __future__ import annotations

import asyncio
import functools
import subprocess
import sys
from typing import Any
from unittest import mock

import boto3
import botocore.client
import pytest
from botocore.config import Config
from botocore.stub import Stubber

from mme_sdk.aws import Aws
from mme_sdk.aws.addressing import Route, Unsupported, describe
from mme_sdk.errors import ClosedError, ConfigurationError
from mme_sdk.runtime.transport import make_async_transport, make_transport
from tests.integration.transport.test_behaviour import REQUEST
from tests.support.transport.fixtures import aws_at
from tests.support.transport.server import ACCESS, REGION, SECRET, TOKEN, LoopbackServer

TIMES = {"connect_timeout": 60.0, "read_timeout": 60.0}  # no call here waits for a time-out


def client(**changes: Any) -> Any:
    session = boto3.Session(ACCESS, SECRET, TOKEN, region_name=changes.pop("region", REGION))
    return session.client("sagemaker-runtime", **changes)


def reason(one: Any) -> str:
    found = describe(one)
    assert isinstance(found, Unsupported)
    return found.reason


class Sent(Exception):
    pass


def wire(one: Any) -> Any:
    """The request that botocore would put on the wire."""
    caught: list[Any] = []

    def stop(request: Any, **_: Any) -> None:
        caught.append(request)
        raise Sent

    one.meta.events.register("before-send.sagemaker-runtime.InvokeEndpoint", stop)
    with pytest.raises(Sent):
        one.invoke_endpoint(EndpointName="mme-sdk-probe", Body=b"")
    return caught[0]


ADDRESSES: list[tuple[str, bool, str | None]] = [
    (region, fips, None) for region in ("eu-west-1", "us-gov-west-1", "cn-north-1") for fips in (False, True)
]
ADDRESSES += [("eu-west-1", False, "https://gateway.example"), ("us-west-2", False, "http://127.0.0.1:8080/base")]
ADDRESSES += [("cn-north-1", False, "https://[::1]:8443")]


@pytest.mark.parametrize(("region", "fips", "url"), ADDRESSES)
def test_a_route_equals_the_address_of_botocore(region: str, fips: bool, url: str | None) -> None:
    def fresh() -> Any:
        return client(region=region, endpoint_url=url, config=Config(use_fips_endpoint=fips))

    found = describe(fresh())
    assert isinstance(found, Route)
    request = wire(fresh())
    assert f"{found.url}/endpoints/mme-sdk-probe/invocations" == request.url
    scope = f"/{found.region}/{found.service}/aws4_request"
    assert scope in request.headers["Authorization"].decode()


def test_a_route_respects_dual_stack_and_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    found = describe(client(config=Config(use_dualstack_endpoint=True)))
    assert isinstance(found, Route)
    assert found.host == wire(client(config=Config(use_dualstack_endpoint=True))).url.split("/")[2]
    monkeypatch.setenv("AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME", "http://127.0.0.1:9")
    found = describe(client())
    assert isinstance(found, Route)
    assert found.url == "http://127.0.0.1:9"


def test_a_route_has_the_settings_of_the_client(tmp_path: Any) -> None:
    bundle = tmp_path / "ca.pem"
    bundle.write_text("")
    found = describe(client(verify=str(bundle), config=Config(user_agent_extra="mine/2", tcp_keepalive=True)))
    assert isinstance(found, Route)
    assert (found.verify, found.ca_file) == (True, str(bundle))
    assert found.user_agent.endswith("mine/2")
    assert len(found.socket_options) == 2
    assert (found.keys().access, found.refreshes) == (ACCESS, False)
    assert SECRET not in repr(found)
    unverified = describe(client(verify=False))
    assert isinstance(unverified, Route)
    assert (unverified.verify, unverified.ca_file) == (False, None)


def test_a_proxy_is_unsupported(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "proxy" in reason(client(config=Config(proxies={"https": "http://127.0.0.1:3128"})))
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:3128")
    assert "proxy" in reason(client())
    monkeypatch.setenv("NO_PROXY", ".amazonaws.com")
    assert isinstance(describe(client()), Route)


def test_other_signatures_are_unsupported() -> None:
    from botocore import UNSIGNED

    assert "signs with none" in reason(client(config=Config(signature_version=UNSIGNED)))
    with mock.patch.object(botocore.client.BaseClient, "generate_presigned_url", create=True) as presign:
        presign.return_value = "https://h/endpoints/mme-sdk-probe/invocations?X-Amz-Algorithm=AWS4-ECDSA-P256-SHA256"
        one = client()
        one.generate_presigned_url = presign
        assert "AWS4-ECDSA-P256-SHA256" in reason(one)


def test_client_certificates_and_adaptive_retries_are_unsupported(tmp_path: Any) -> None:
    assert "certificate" in reason(client(config=Config(client_cert=str(tmp_path / "me.pem"))))
    assert "adaptive" in reason(client(config=Config(retries={"mode": "adaptive"})))


def test_urls_that_need_normalisation_are_unsupported() -> None:
    assert "normalisation" in reason(client(endpoint_url="http://127.0.0.1:1/a%20b"))
    assert "normalisation" in reason(client(endpoint_url="http://127.0.0.1:1/a//b"))
    assert "normalisation" in reason(client(endpoint_url="http://127.0.0.1:1/../b"))


def test_an_invalid_user_agent_is_unsupported() -> None:
    assert "User-Agent" in reason(client(config=Config(user_agent="mine/1\r\nX-Evil: 1")))


def test_a_stubbed_client_is_unsupported() -> None:
    one = client()
    with Stubber(one):
        assert "botocore.stub" in reason(one)


@pytest.mark.parametrize(
    "event",
    [
        "before-sign.sagemaker-runtime.InvokeEndpoint",
        "before-send.*.*",
        "before-send",
        "needs-retry.sagemaker-runtime",
        "before-call.sagemaker-runtime",
    ],
)
def test_event_handlers_are_unsupported(event: str) -> None:
    one = client()

    def mine(**_: Any) -> None:
        pass

    one.meta.events.register(event, functools.partial(mine))
    assert event.split(".", maxsplit=1)[0] in reason(one)
    assert __name__ in reason(one)


def test_event_handlers_of_the_session_are_unsupported() -> None:
    session = boto3.Session(ACCESS, SECRET, region_name=REGION)
    session.events.register("before-send", lambda **_: None)
    assert "before-send" in reason(session.client("sagemaker-runtime"))


def test_event_handlers_of_other_operations_are_supported() -> None:
    one = client()
    one.meta.events.register("before-send.s3", lambda **_: None)
    one.meta.events.register("before-send.sagemaker-runtime.InvokeEndpointAsync", lambda **_: None)
    assert isinstance(describe(one), Route)


def test_tracers_that_wrap_botocore_are_unsupported() -> None:
    original = botocore.client.BaseClient._make_api_call  # type: ignore[attr-defined]

    @functools.wraps(original)
    def traced(self: Any, *args: Any) -> Any:
        return original(self, *args)

    with mock.patch.object(botocore.client.BaseClient, "_make_api_call", traced):
        assert "instrumented" in reason(client())


def test_a_botocore_with_other_internals_is_unsupported() -> None:
    one = client()
    del one._endpoint.http_session._proxy_config
    assert "is not supported" in reason(one)


def test_name_is_the_transport_in_use(server: LoopbackServer) -> None:
    aws = aws_at(server.url)
    transport = make_transport(aws)
    assert transport.name == "undecided"
    transport.send(REQUEST, **TIMES)
    assert (transport.name, transport.reason) == ("fast", None)
    transport.close()
    plain = make_transport(aws, "botocore")
    plain.send(REQUEST, **TIMES)
    assert (plain.name, plain.reason) == ("botocore", None)
    plain.close()
    aws.close()


def test_auto_falls_back_to_botocore_with_a_reason(server: LoopbackServer) -> None:
    session = boto3.Session(ACCESS, SECRET, TOKEN, region_name=REGION)
    heard: list[str] = []
    session.events.register("before-send", lambda **_: heard.append("sent"))
    aws = Aws(session=session, endpoint_url=server.url)
    transport = make_transport(aws)
    assert transport.send(REQUEST, **TIMES).status == 200
    assert transport.name == "botocore"
    assert "`before-send`" in str(transport.reason)
    assert "before-send" in repr(transport)
    for choice in ("fast", "core"):
        with pytest.raises(ConfigurationError, match="before-send"):
            make_transport(aws, choice).send(REQUEST, **TIMES)
    assert heard == ["sent"]

    async def main() -> None:
        twin = make_async_transport(aws)
        assert (await twin.send(REQUEST, **TIMES)).status == 200
        assert (twin.name, twin.reason) == ("botocore", transport.reason)
        await twin.close()

    asyncio.run(main())
    assert heard == ["sent", "sent"]
    transport.close()
    aws.close()


def test_an_unknown_choice_is_rejected_at_once() -> None:
    aws = Aws(region=REGION)
    for make in (make_transport, make_async_transport):
        with pytest.raises(ConfigurationError, match="http3"):
            make(aws, "http3")


def test_no_transport_needs_an_extra(server: LoopbackServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "httptools", None)
    aws = aws_at(server.url)
    for choice in ("auto", "fast", "core"):
        transport = make_transport(aws, choice)
        transport.send(REQUEST, **TIMES)
        assert transport.name == "fast"
        transport.close()
    aws.close()


def test_missing_credentials_are_an_error_of_the_first_call(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for choice in ("auto", "botocore"):
        aws = Aws(region=REGION, endpoint_url="http://127.0.0.1:1")
        with pytest.raises(ConfigurationError, match="credentials"):
            make_transport(aws, choice).send(REQUEST, **TIMES)
        aws.close()


def test_botocore_refreshes_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    helper = tmp_path / "helper.py"
    helper.write_text(
        "import json, pathlib\n"
        "count = pathlib.Path(__file__).with_name('count')\n"
        "turn = int(count.read_text()) + 1 if count.exists() else 1\n"
        "count.write_text(str(turn))\n"
        f"print(json.dumps(dict(Version=1, AccessKeyId='AK', SecretAccessKey='{SECRET}', SessionToken=f't{{turn}}',"
        " Expiration='2000-01-01T00:00:00Z' if turn == 1 else '2100-01-01T00:00:00Z')))\n"
    )
    config = tmp_path / "config"
    config.write_text(f"[default]\nregion = {REGION}\ncredential_process = {sys.executable} {helper}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    aws = Aws()
    found = describe(aws.client("sagemaker-runtime"))
    assert isinstance(found, Route)
    assert found.refreshes
    assert found.keys().token == "t2"
    aws.close()


def test_credentials_that_cannot_be_renewed_are_a_typed_error(monkeypatch: pytest.MonkeyPatch) -> None:
    from botocore.credentials import RefreshableCredentials
    from botocore.exceptions import CredentialRetrievalError

    one = client()
    found = describe(one)
    assert isinstance(found, Route)
    broken = mock.Mock(spec=RefreshableCredentials)
    broken.get_frozen_credentials.side_effect = CredentialRetrievalError(provider="sso", error_msg="log in")
    from mme_sdk.aws.addressing import keys_of

    keys, refreshes = keys_of(broken)
    assert refreshes
    with pytest.raises(ConfigurationError, match="log in"):
        keys()


def test_closing_before_the_first_call(server: LoopbackServer) -> None:
    aws = aws_at(server.url)
    transport = make_transport(aws)
    transport.close()
    with pytest.raises(ClosedError):
        transport.send(REQUEST, **TIMES)
    assert server.connections == 0
    aws.close()


def test_nothing_is_imported_before_the_first_call() -> None:
    code = (
        "import sys, mme_sdk.aws, mme_sdk.runtime.transport as t\n"
        "t.make_transport(mme_sdk.aws.Aws(region='eu-west-1'))\n"
        "t.make_async_transport(mme_sdk.aws.Aws(region='eu-west-1'))\n"
        "names = 'boto3 botocore httptools uvloop urllib3 http.client'.split()\n"
        "ours = 'accelerate async_pool pool pool_base sigv4 request_signer response_parser'.split()\n"
        "ours += ['botocore_transport']\n"
        "names += ['mme_sdk.runtime.transport.' + one for one in ours]\n"
        "print([name for name in names if name in sys.modules])"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.strip() == "[]"


def test_closing_during_the_selection(server: LoopbackServer) -> None:
    aws = aws_at(server.url)
    transport = make_transport(aws)
    select = transport._selecting._work

    def closed_meanwhile() -> Any:
        selected = select()
        transport.close()
        return selected

    transport._selecting._work = closed_meanwhile  # type: ignore[method-assign]
    with pytest.raises(ClosedError):
        transport.send(REQUEST, **TIMES)
    assert server.connections == 0
    aws.close()
