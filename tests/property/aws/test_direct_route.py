"""The route that is found without botocore equals the one that botocore's client has, or botocore decides."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import attrs
import boto3
import botocore.session
import pytest
from botocore.loaders import Loader
from botocore.utils import ContainerMetadataFetcher, InstanceMetadataFetcher
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from mme_sdk.aws import direct_route
from mme_sdk.aws.addressing import Route, describe
from mme_sdk.aws.direct_route import find_direct_route
from mme_sdk.aws.session import Aws
from mme_sdk.errors import MMEError

_LOADER = Loader(include_default_search_paths=True)  # the service models are read once for all examples
KEYS = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "secret/+="}
ENVIRONMENT = {**KEYS, "AWS_DEFAULT_REGION": "eu-west-1"}


@contextmanager
def machine(environment: dict[str, str], files: dict[str, str] | None = None) -> Iterator[None]:
    """Set the whole environment and the files below `~/.aws`, as in a process that has not imported botocore."""
    role = {"access_key": "ROLE", "secret_key": "s", "token": "t", "expiry_time": "2100-01-01T00:00:00Z"}
    container = {"AccessKeyId": "BOX", "SecretAccessKey": "s", "Token": "t", "Expiration": "2100-01-01T00:00:00Z"}
    with (
        tempfile.TemporaryDirectory() as home,
        mock.patch.dict(os.environ, {**environment, "HOME": home}, clear=True),
        mock.patch.object(direct_route, "_may_be_observed", return_value=False),
        mock.patch.object(
            InstanceMetadataFetcher, "retrieve_iam_role_credentials", return_value={**role, "role_name": "r"}
        ),
        mock.patch.object(ContainerMetadataFetcher, "retrieve_full_uri", return_value=container),
    ):
        for name, text in (files or {}).items():
            path = Path(home, ".aws", name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        yield


def of_botocore(region: str | None, url: str | None) -> Route | str:
    """Return the route of botocore's client, or why it has none."""
    inner = botocore.session.Session()
    inner.register_component("data_loader", _LOADER)
    try:
        session = boto3.Session(botocore_session=inner, region_name=region)
        found = describe(Aws(region=region, session=session, endpoint_url=url).client("sagemaker-runtime"))
    except MMEError as error:
        return str(error)
    return found if isinstance(found, Route) else found.reason


def facts(route: Route) -> dict[str, Any]:
    """Return all fields of a route that two finders must agree on."""
    known = {field.name: getattr(route, field.name) for field in attrs.fields(Route)}
    known["keys"] = route.keys()
    del known["user_agent"]
    return known


def find(region: str | None, url: str | None) -> Route | None:
    """Find a route as a client does that is made with these arguments."""
    return find_direct_route(region, url, Aws(region=region).credentials)


def check(region: str | None, url: str | None) -> Route | None:
    """Compare both finders; return the route of the direct one."""
    try:
        direct = find(region, url)
        known = None if direct is None else facts(direct)
    except MMEError:
        # There are no credentials, or they are not valid: then botocore's client has none either.
        assert isinstance(of_botocore(region, url), str)
        return None
    if direct is not None:
        expected = of_botocore(region, url)
        assert isinstance(expected, Route), expected
        assert known == facts(expected)
    return direct


REGIONS = st.sampled_from(
    ["eu-west-1", "us-east-1", "us-gov-west-1", "cn-north-1", "ap-southeast-7", "us-iso-east-1", "us-isob-east-1",
     "eu-isoe-west-1", "eusc-de-east-1", "aws-global", "us-gov-1", "mx-central-1", "us-iso-1", "eu-west-1-fips",
     "fips-us-east-1", "EU-west-1", "us-éast-1", "eu-west-¹", "eu-west-", "eu--1", "", "local", "xx-west-1",
     "us-gov-north-12", "cn-gov-1", "il-central-1\n"]
)  # fmt: skip
URLS = st.sampled_from(
    ["http://127.0.0.1:8080", "https://vpce-1.runtime.sagemaker.eu-west-1.vpce.amazonaws.com", "https://h:443",
     "http://h:80", "https://h:80", "http://h:080", "http://h/", "http://h/base", "http://h?x=1", "http://H",
     "http://[::1]:1", "http://u@h", "http://h:0", "http://h:65536", "http://h:65535",
     "http://h:" + "9" * 5000, "http://h:", "http://-h", "http://a..b",
     "http://h.", "ftp://h", "h", "http://", "http://h_b", "http://h:1:2", "http://" + "a" * 64, "http://h#f",
     "HTTP://h", " http://h"]
)  # fmt: skip
VALUES = st.sampled_from(["", "true", "false", "1", "auto", "adaptive", "http://127.0.0.1:3128", "default", "other"])
VARIABLES = [
    "AWS_USE_FIPS_ENDPOINT", "AWS_USE_DUALSTACK_ENDPOINT", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME",
    "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "AWS_DEFAULT_PROFILE", "AWS_CONFIG_FILE", "AWS_DATA_PATH",
    "AWS_SHARED_CREDENTIALS_FILE", "AWS_RETRY_MODE", "AWS_MAX_ATTEMPTS", "AWS_DEFAULTS_MODE",
    "AWS_SIGV4A_SIGNING_REGION_SET", "AWS_AUTH_SCHEME_PREFERENCE", "AWS_ACCOUNT_ID", "AWS_BEARER_TOKEN_SAGEMAKER",
    "AWS_LOGIN_CACHE_DIRECTORY", "AWS_SDK_UA_APP_ID", "BOTO_CONFIG", "BOTOCORE_TCP_KEEPALIVE",
    "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "NO_PROXY", "http_proxy",
]  # fmt: skip
OF_CREDENTIALS = [
    "AWS_PROFILE", "AWS_SECURITY_TOKEN", "AWS_CREDENTIAL_EXPIRATION", "AWS_ROLE_SESSION_NAME",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_EC2_METADATA_DISABLED",
    "AWS_METADATA_SERVICE_TIMEOUT", "AWS_METADATA_SERVICE_NUM_ATTEMPTS", "AWS_EC2_METADATA_SERVICE_ENDPOINT",
    "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", "AWS_EC2_METADATA_V1_DISABLED",
]  # fmt: skip
HARMLESS = [
    "AWS_PAGER", "AWS_EXECUTION_ENV", "AWS_LAMBDA_FUNCTION_NAME", "AWS_ACCESS_KEY",
    "AWS_XRAY_CONTEXT_MISSING", "AWS_DEFAULT_OUTPUT", "AWS_REGION", "AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE",
    "AWS_SESSION_TOKEN", "PATH", "LANG",
]  # fmt: skip
HARMLESS_VALUES = st.sampled_from(["", " ", "x", "eu-west-1", "true", "/etc/ssl/certs/ca.pem", "AWS_Lambda_python3.13"])
TEXTS = st.sampled_from(["AKID", "s/+=", " padded ", "", "é", "a#b", "a;b"])
LINES = st.sampled_from(
    ["region = us-west-2", "region=", "Region = us-west-2", "output = json", "aws_access_key_id = FILEKEY",
     "aws_secret_access_key = filesecret", "aws_session_token = filetoken", "aws_session_token =",
     "aws_security_token = old", "role_arn = arn:aws:iam::1:role/r", "credential_process = /bin/false",
     "use_fips_endpoint = true", "endpoint_url = http://127.0.0.1:9", "services = mine", "ca_bundle = /tmp/ca.pem",
     "retry_mode = adaptive", "s3 =\n  addressing_style = path", "sso_session = mine", "tcp_keepalive = true",
     "# a comment", "credential_process = /bin/false", "login_session = arn",
     """credential_process = /bin/echo '{"Version":1,"AccessKeyId":"P","SecretAccessKey":"p"}'""",
     "defaults_mode = auto", "region = us-west-2\n  eu-west-1", "no key"]
)  # fmt: skip
HEADS = st.sampled_from(
    ["[default]", "[profile default]", '[profile "default"]', "[profile other]", "[other]", "[DEFAULT]",
     "[services mine]", "[sso-session mine]", "[plugins]", "[other]", "", "[ default ]"]
)  # fmt: skip
SECTIONS = st.builds(lambda head, lines: "\n".join([head, *lines, ""]), HEADS, st.lists(LINES, max_size=4))
ORDINARY_FILES = {
    "config": "[default]\nregion = us-west-2\noutput = json\n[profile other]\nregion = eu-west-3\n",
    "credentials": "[default]\naws_access_key_id = FILEKEY\naws_secret_access_key = filesecret\n",
}
FILES = st.one_of(
    *[st.just({})] * 3,
    *[st.just(ORDINARY_FILES)] * 2,
    st.dictionaries(st.sampled_from(["config", "credentials"]), st.lists(SECTIONS, max_size=2).map("".join)),
    st.builds(lambda head, line: {**ORDINARY_FILES, "config": f"{head}\n{line}\n"}, HEADS, LINES),
    st.builds(lambda line: {"credentials": f"{ORDINARY_FILES['credentials']}{line}\n"}, LINES),
)


@st.composite
def environments(draw: st.DrawFn) -> dict[str, str]:
    """Draw environments: most of them as programs have them, with at most one unusual variable."""
    found: dict[str, str] = {}
    if draw(st.integers(0, 3)):
        found |= KEYS
    elif draw(st.booleans()):
        found |= draw(st.dictionaries(st.sampled_from([*KEYS]), TEXTS))
    if draw(st.integers(0, 3)):
        found["AWS_DEFAULT_REGION"] = draw(st.one_of(st.just("eu-west-1"), st.just("us-east-1"), REGIONS))
    found |= draw(st.dictionaries(st.sampled_from(HARMLESS), HARMLESS_VALUES, max_size=2))
    if draw(st.integers(0, 4)) == 0:
        found[draw(st.sampled_from(VARIABLES))] = draw(VALUES)
    if draw(st.integers(0, 2)) == 0:
        found[draw(st.sampled_from(OF_CREDENTIALS))] = draw(VALUES)
    return {name: value for name, value in found.items() if "\0" not in value}


def _compare(environment: dict[str, str], files: dict[str, str], region: str | None, url: str | None) -> None:
    with machine(environment, files):
        check(region or None, url)


_CASES = (
    environments(),
    FILES,
    st.one_of(*[st.none()] * 3, *[st.just("eu-west-1")] * 2, REGIONS),
    st.one_of(*[st.none()] * 3, st.just("http://127.0.0.1:8080"), URLS),
)
_QUIET = [HealthCheck.too_slow, HealthCheck.filter_too_much]


@settings(max_examples=80, deadline=None, suppress_health_check=_QUIET)
@example(ENVIRONMENT, {"config": "[profile default]\nregion = us-west-2\nuse_fips_endpoint = true\n"}, None, None)
@example({"AWS_PROFILE": "other"}, ORDINARY_FILES, None, None)
@example({"AWS_PROFILE": "none"}, ORDINARY_FILES, None, None)
@example({**ENVIRONMENT, "AWS_CREDENTIAL_EXPIRATION": "2100-01-01T00:00:00Z"}, {}, None, None)
@example({**ENVIRONMENT, "AWS_SECURITY_TOKEN": "old", "AWS_SESSION_TOKEN": "new"}, {}, None, None)
@example({**ENVIRONMENT, "AWS_METADATA_SERVICE_TIMEOUT": ""}, {}, None, None)
@example({**ENVIRONMENT, "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE": "odd"}, {}, None, None)
@example(ENVIRONMENT, {"models/endpoints.json": "{}"}, None, None)
@example({**ENVIRONMENT, "REQUESTS_CA_BUNDLE": "/etc/a.pem", "AWS_CA_BUNDLE": "/etc/b.pem"}, {}, None, None)
@given(*_CASES)
def test_both_finders_agree(
    environment: dict[str, str], files: dict[str, str], region: str | None, url: str | None
) -> None:
    _compare(environment, files, region, url)


@pytest.mark.slow
@settings(max_examples=3000, deadline=None, suppress_health_check=_QUIET)
@given(*_CASES)
def test_both_finders_agree_in_many_more_cases(
    environment: dict[str, str], files: dict[str, str], region: str | None, url: str | None
) -> None:
    _compare(environment, files, region, url)


def _regions() -> list[str]:
    partitions = _LOADER.load_data("partitions")["partitions"]
    names = {name for partition in partitions for name in partition["regions"]}
    session = botocore.session.Session()
    for name in session.get_available_partitions():
        names.update(session.get_available_regions("sagemaker-runtime", name, allow_non_regional=True))
    return sorted(names)


def test_every_region_of_botocore_has_the_host_that_botocore_finds() -> None:
    direct = []
    with machine(ENVIRONMENT):
        for region in _regions():
            if check(region, None) is not None:
                direct.append(region)
    assert {"eu-west-1", "us-east-1", "cn-north-1", "us-gov-west-1"} <= set(direct)
    assert not [region for region in direct if "iso" in region or "global" in region or "eusc" in region]


@pytest.mark.parametrize(
    ("environment", "files", "region", "url"),
    [
        (ENVIRONMENT, {}, None, None),
        (KEYS, {}, "us-gov-east-1", None),
        (ENVIRONMENT | {"AWS_SESSION_TOKEN": "token", "AWS_CA_BUNDLE": "/etc/ca.pem"}, {}, None, None),
        (ENVIRONMENT | {"REQUESTS_CA_BUNDLE": "/etc/ca.pem"}, {}, None, None),
        (ENVIRONMENT, {}, None, "http://127.0.0.1:8080"),
        (ENVIRONMENT, ORDINARY_FILES, None, None),
        ({}, ORDINARY_FILES, None, None),
        ({}, ORDINARY_FILES, "eu-central-1", "https://vpce.example"),
        (
            ENVIRONMENT
            | {
                "AWS_REGION": "eu-west-1",
                "AWS_EXECUTION_ENV": "AWS_Lambda_python3.13",
                "AWS_LAMBDA_FUNCTION_NAME": "f",
                "AWS_LAMBDA_RUNTIME_API": "127.0.0.1:9001",
                "AWS_XRAY_DAEMON_ADDRESS": "169.254.79.129:2000",
                "AWS_ACCESS_KEY": "x",
            },
            {},
            None,
            None,
        ),
    ],
)
def test_the_ordinary_cases_are_found_without_botocore(
    environment: dict[str, str], files: dict[str, str], region: str | None, url: str | None
) -> None:
    with machine(environment, files):
        route = check(region, url)
    assert route is not None
    assert not route.refreshes


@pytest.mark.parametrize(
    ("environment", "files", "access", "refreshes"),
    [
        ({}, {}, "ROLE", True),
        ({"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://127.0.0.1/c"}, {}, "BOX", True),
        (KEYS | {"AWS_CREDENTIAL_EXPIRATION": "2100-01-01T00:00:00Z"}, {}, "AKIDEXAMPLE", True),
        (KEYS | {"AWS_SECURITY_TOKEN": "old"}, {}, "AKIDEXAMPLE", False),
        (KEYS | {"AWS_PROFILE": "other"}, ORDINARY_FILES, "AKIDEXAMPLE", False),
        (
            {"AWS_PROFILE": "dev"},
            {
                "config": "[profile dev]\nregion = eu-west-1\ncredential_process = /bin/echo"
                """ '{"Version":1,"AccessKeyId":"P","SecretAccessKey":"p"}'\n"""
            },
            "P",
            False,
        ),
        ({"AWS_PROFILE": "dev"}, {"credentials": "[dev]\naws_access_key_id=F\naws_secret_access_key=f\n"}, "F", False),
    ],
)
def test_botocore_provides_credentials_without_a_client(
    environment: dict[str, str], files: dict[str, str], access: str, refreshes: bool
) -> None:
    with machine({"AWS_DEFAULT_REGION": "eu-west-1", **environment}, files):
        route = check(None, None)
        assert route is not None
        assert (route.keys().access, route.refreshes) == (access, refreshes)


def test_a_session_that_a_client_needs_later_shares_the_credentials() -> None:
    with machine({"AWS_DEFAULT_REGION": "eu-west-1"}):
        aws = Aws()
        assert aws.credentials() is aws.session.get_credentials()
        assert aws.region == "eu-west-1"
        assert "Boto3/" in aws.client("sagemaker-runtime").meta.config.user_agent
        assert Aws(region="us-east-2").credentials() is not aws.credentials()


@pytest.mark.parametrize("name", VARIABLES)
def test_a_variable_that_botocore_may_read_leaves_the_route_to_botocore(name: str) -> None:
    with machine(ENVIRONMENT | {name: "1"}):
        assert find(None, None) is None


@pytest.mark.parametrize(
    "line",
    ["use_fips_endpoint = true", "services = s", "ca_bundle = b", "endpoint_url = u", "sso_session = s", "odd = 1"],
)
def test_a_key_of_the_profile_that_botocore_may_read_leaves_the_route_to_botocore(line: str) -> None:
    for files in (
        {"config": f"[default]\n{line}\n"},
        {"credentials": f"[default]\n{line}\n"},
        {"config": f"[DEFAULT]\n{line}\n[default]\n"},
        {"config": f"[profile default]\n{line}\n"},
    ):
        with machine(ENVIRONMENT, files):
            assert find(None, None) is None


def test_the_variables_of_the_installed_botocore_are_known_or_left_to_botocore() -> None:
    # Variables that botocore reads and that a direct route ignores on purpose have a reason in `_KNOWN`.
    from botocore.configprovider import BOTOCORE_DEFAUT_SESSION_VARIABLES

    read = set()
    for _, names, _, _ in BOTOCORE_DEFAUT_SESSION_VARIABLES.values():
        read.update([names] if isinstance(names, str) else names or [])
    known = {name for name in read if direct_route._is_known(name)} - direct_route._OF_CREDENTIALS
    assert known == {"AWS_DEFAULT_REGION", "AWS_CA_BUNDLE"}


def test_the_authorities_are_those_of_certifi_if_it_is_installed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "certifi.py").write_text("def where():\n    return '/etc/certifi.pem'\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "certifi", raising=False)
    assert direct_route._default_bundle() == "/etc/certifi.pem"
    monkeypatch.setitem(sys.modules, "certifi", mock.Mock(__spec__=None))
    assert direct_route._default_bundle() is None


def test_secrets_are_in_no_repr() -> None:
    with machine(ENVIRONMENT | {"AWS_SESSION_TOKEN": "verysecrettoken"}):
        route = find(None, None)
    assert route is not None
    for text in (repr(route), str(route), repr(route.keys())):
        assert KEYS["AWS_SECRET_ACCESS_KEY"] not in text
        assert "verysecrettoken" not in text


def test_code_that_watches_imports_leaves_the_route_to_botocore(monkeypatch: pytest.MonkeyPatch) -> None:
    class TracerHook:
        @staticmethod
        def find_spec(*_: Any) -> None:
            return None

    ordinary = [hook for hook in sys.meta_path if getattr(hook, "__module__", "").startswith("_frozen_importlib")]
    monkeypatch.setattr(sys, "meta_path", ordinary)
    assert direct_route._may_be_observed()  # the tests have imported botocore
    monkeypatch.delitem(sys.modules, "botocore")
    assert not direct_route._may_be_observed()
    monkeypatch.setattr(sys, "meta_path", [TracerHook(), *ordinary])
    assert direct_route._may_be_observed()
    monkeypatch.setattr(sys, "meta_path", [TracerHook, *ordinary])
    assert direct_route._may_be_observed()


def test_the_user_agent_names_the_sdk_and_holds_no_control_character() -> None:
    with machine(ENVIRONMENT | {"AWS_EXECUTION_ENV": "AWS_Lambda\r\nX-Evil: 1 é"}):
        route = find(None, None)
    assert route is not None
    assert route.user_agent.startswith("mme_sdk/")
    assert route.user_agent.isascii()
    assert route.user_agent.isprintable()
    assert route.user_agent.endswith("exec-env/AWS_Lambda--X-Evil--1--")
