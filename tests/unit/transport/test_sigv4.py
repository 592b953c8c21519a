"""Compare signatures with those of botocore, byte for byte."""

from __future__ import annotations

import datetime
from unittest import mock

import attrs
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mme_sdk.aws.addressing import Keys
from mme_sdk.errors import ConfigurationError, InvalidInputError
from mme_sdk.runtime.transport.request_headers import HEADERS
from mme_sdk.runtime.transport.sigv4 import SigV4
from mme_sdk.runtime.transport_interface import InvokeRequest

DAY = 86_400


def botocores(url: str, headers: dict[str, str], body: bytes, keys: Keys, now: float, region: str) -> dict[str, str]:
    """The headers that botocore's signer makes of these."""
    request = AWSRequest("POST", url, headers, body)
    # `fromtimestamp` rounds the last half microsecond up into the next second.
    moment = datetime.datetime.fromtimestamp(int(now), datetime.UTC)
    with mock.patch("botocore.auth.get_current_datetime", return_value=moment):
        SigV4Auth(Credentials(keys.access, keys.secret, keys.token), "sagemaker", region).add_auth(request)
    return {name.lower(): value for name, value in request.headers.items()}


def ours(signer: SigV4, request: InvokeRequest, keys: Keys, now: float) -> tuple[str, dict[str, str]]:
    head = signer.head(request, keys, now)
    assert head.endswith(b"\r\n\r\n")
    line, *lines = head.decode().removesuffix("\r\n\r\n").split("\r\n")
    return line, {name.lower(): value for name, value in (one.split(": ", 1) for one in lines)}


ascii_values = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E) | st.just("\t"), min_size=1, max_size=60)
unicode_values = st.text(
    st.characters(blacklist_categories=("Cs",), blacklist_characters="".join(map(chr, range(32))) + "\x7f"),
    min_size=1,
    max_size=60,
) | st.sampled_from(
    ["a b/c+d%20%%.tar.gz", "~/../x", " lead", "trail ", "a\t b", "a\u00a0b\u2003c", "%s%d%(x)s", "ü/é"]
)
requests = st.builds(
    InvokeRequest,
    endpoint=st.from_regex(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,20}", fullmatch=True).map(lambda name: name[:63].rstrip("-")),
    body=st.binary(max_size=200) | st.sampled_from([b"", b"\x00" * 100_000, "ü".encode()]),
    content_type=ascii_values,
    accept=st.none() | ascii_values,
    target_model=st.none() | unicode_values,
    target_variant=st.none() | ascii_values,
    target_container=st.none() | ascii_values,
    inference_component=st.none() | ascii_values,
    prefix_aware_id=st.none() | ascii_values,
    inference_id=st.none() | ascii_values,
    custom_attributes=st.none() | ascii_values,
    session_id=st.none() | ascii_values,
    enable_explanations=st.none() | ascii_values,
    invocation_id=st.none() | ascii_values,
)
tokens = st.none() | st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=80)
keys_ = st.builds(
    Keys,
    st.from_regex(r"[A-Z0-9%]{4,20}", fullmatch=True),
    st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=50),
    tokens,
)
addresses = st.sampled_from(
    [
        ("https", "runtime.sagemaker.eu-west-1.amazonaws.com", ""),
        ("https", "runtime-fips.sagemaker.us-gov-west-1.amazonaws.com", ""),
        ("http", "127.0.0.1:8080", ""),
        ("http", "[::1]:8080", ""),
        ("https", "[2001:db8::1]", "/base"),
        ("http", "localhost:4566", "/a~b/c_d-e.f"),
    ]
)


@settings(deadline=None)
@given(
    calls=st.lists(st.tuples(requests, st.floats(min_value=0, max_value=4e9, allow_nan=False)), min_size=1, max_size=4),
    keys=keys_,
    later=keys_,
    address=addresses,
    region=st.sampled_from(["eu-west-1", "us-gov-west-1", "cn-north-1"]),
)
@example(
    calls=[(InvokeRequest(endpoint="e", body=b""), now) for now in (DAY * 20_000 - 0.25, DAY * 20_000.0)],
    keys=Keys("AK", "s", "t%s"),
    later=Keys("AK", "s", None),
    address=("https", "h", ""),
    region="eu-west-1",
)
def test_signs_as_botocore_does(
    calls: list[tuple[InvokeRequest, float]], keys: Keys, later: Keys, address: tuple[str, str, str], region: str
) -> None:
    scheme, authority, prefix = address
    signer = SigV4(authority=authority, prefix=prefix, region=region, service="sagemaker", user_agent="ua/1 100%")
    # Each request twice and under changed keys: a cache that keeps too much shows here.
    for current in (keys, later, keys):
        for request, now in [*calls, *calls]:
            line, sent = ours(signer, request, current, now)
            assert line == f"POST {prefix}/endpoints/{request.endpoint}/invocations HTTP/1.1"
            given_headers = {
                header: value for field, header in HEADERS.items() if (value := getattr(request, field)) is not None
            }
            url = f"{scheme}://{authority}{prefix}/endpoints/{request.endpoint}/invocations"
            expected = botocores(url, given_headers, request.body, current, now, region)
            expected |= {
                "host": authority,
                "content-length": str(len(request.body)),
                "user-agent": "ua/1 100%",
                "accept-encoding": "identity",
            }
            assert sent == expected


def test_the_signing_key_changes_at_midnight() -> None:
    signer = SigV4(authority="h", prefix="", region="eu-west-1", service="sagemaker", user_agent="u")
    request = InvokeRequest(endpoint="e", body=b"x")
    keys = Keys("AK", "secret", None)
    midnight = DAY * 20_000
    heads = [signer.head(request, keys, now).decode() for now in (midnight - 1, midnight - 0.001, midnight)]
    assert heads[0] == heads[1]
    assert "/20241003/" in heads[1]
    assert "/20241004/" in heads[2]


def test_the_number_of_templates_is_limited() -> None:
    signer = SigV4(authority="h", prefix="", region="eu-west-1", service="sagemaker", user_agent="u")
    keys = Keys("AK", "secret", None)
    for number in range(2000):
        signer.head(InvokeRequest(endpoint="e", body=b"", target_variant=f"v{number}"), keys, 0)
    assert signer._moment is not None
    assert len(signer._moment.templates) <= 512


@pytest.mark.parametrize("field", [*HEADERS, "endpoint"])
def test_line_breaks_are_rejected_in_every_field(field: str) -> None:
    signer = SigV4(authority="h", prefix="", region="eu-west-1", service="sagemaker", user_agent="u")
    keys = Keys("AK", "secret", None)
    for value in ("a\r\nb: c", "a\n", "\r", "a\x00"):
        request = attrs.evolve(InvokeRequest(endpoint="e", body=b""), **{field: value})
        for _ in range(2):
            with pytest.raises(InvalidInputError):
                signer.head(request, keys, 0)


def test_secrets_stay_out_of_reprs() -> None:
    assert "hush" not in repr(Keys("AK", "hush", "hush-token"))


@pytest.mark.parametrize("keys", [Keys("AK\n", "s", None), Keys("AK", "s", "t\r\nX-Evil: 1"), Keys("A\x00", "s", "t")])
def test_line_breaks_are_rejected_in_credentials(keys: Keys) -> None:
    signer = SigV4(authority="h", prefix="", region="eu-west-1", service="sagemaker", user_agent="u")
    with pytest.raises(ConfigurationError, match="line break"):
        signer.head(InvokeRequest(endpoint="e", body=b""), keys, 0)
