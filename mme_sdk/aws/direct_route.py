"""Find where requests go and how they are signed without a client of botocore, where its answer is known beforehand.

The import of botocore and the creation of a client take more CPU than the rest of a first call. They find nothing new
where the environment, the arguments and the files below `~/.aws` contain only what this module reads: keys, a region of
a well-known form, an endpoint URL without a path, and a CA bundle. If the keys are not there, or if they expire,
botocore provides them, without a client. In every other case, such as a variable, a key of a profile or an import hook
that this module does not know, the answer is None, and botocore decides. A property test compares both answers.
"""

# The import of pathlib takes a twentieth of a first call.
# ruff: noqa: PTH110, PTH111, PTH113, PTH118
from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Mapping
from typing import Any

from mme_sdk._version import __version__
from mme_sdk.aws.addressing import Keys, Route, keys_of

__all__ = ["find_direct_route"]

# Variables that begin with AWS_ and that either this module reads or botocore does not read to find a route.
_KNOWN = frozenset(
    {
        "AWS_ACCESS_KEY",  # AWS Lambda sets it; botocore does not read it
        "AWS_ACCESS_KEY_ID",
        "AWS_CA_BUNDLE",
        "AWS_DEFAULT_OUTPUT",  # of the command line
        "AWS_DEFAULT_REGION",
        "AWS_EXECUTION_ENV",
        "AWS_PAGER",  # of the command line
        "AWS_REGION",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
    }
)
_KNOWN_PREFIXES = ("AWS_LAMBDA_", "AWS_XRAY_")
# Variables that botocore reads only to find credentials. It reads these even if the environment has the keys.
_OF_KEYS = frozenset(
    {
        "AWS_CREDENTIAL_EXPIRATION",
        "AWS_EC2_METADATA_SERVICE_ENDPOINT",
        "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE",
        "AWS_EC2_METADATA_V1_DISABLED",
        "AWS_METADATA_SERVICE_NUM_ATTEMPTS",
        "AWS_METADATA_SERVICE_TIMEOUT",
        "AWS_SECURITY_TOKEN",
    }
)
_OF_CREDENTIALS = _OF_KEYS | {
    "AWS_CONTAINER_AUTHORIZATION_TOKEN",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_EC2_METADATA_DISABLED",
    "AWS_PROFILE",
    "AWS_ROLE_ARN",
    "AWS_ROLE_SESSION_NAME",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
}
# Variables of botocore and its libraries, and proxies, in lower case.
_FOREIGN_PREFIXES = ("boto", "_jsii")
_FOREIGN_SUFFIX = "_proxy"
_STATIC_KEYS = frozenset({"aws_access_key_id", "aws_secret_access_key", "aws_session_token"})
# Keys of a profile that botocore reads only to find credentials, without `sso_session`: a client reads it for a token.
_CREDENTIAL_KEYS = _STATIC_KEYS | {
    "credential_process",
    "credential_source",
    "duration_seconds",
    "external_id",
    "mfa_serial",
    "role_arn",
    "role_session_name",
    "source_profile",
    "sso_account_id",
    "sso_region",
    "sso_role_name",
    "sso_start_url",
    "web_identity_token_file",
}
_PROFILE_KEYS = _CREDENTIAL_KEYS | {"region", "output", "cli_pager"}
_PROFILE_NAME = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")
# Import hooks that change no code of botocore. Tracing libraries install hooks that do.
_KNOWN_HOOKS = ("_frozen_importlib", "_distutils_hack", "_pytest", "_virtualenv", "__editable__", "six")
_PARTITION_PREFIXES = frozenset({"us", "eu", "ap", "sa", "ca", "me", "af", "il", "mx"})
_OTHER_PARTITIONS = frozenset({"gov", "iso", "isob", "isoe", "isof"})
_PORTS = {"http": 80, "https": 443}
_HOST_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-.")


def find_direct_route(region: str | None, endpoint_url: str | None, credentials: Callable[[], Any]) -> Route | None:
    """Return the route of a client that has no session of its own; None if only a client of botocore knows it.

    Args:
        region: Region that the caller gave. None takes it from the environment or the profile.
        endpoint_url: Endpoint URL that the caller gave. None means AWS's address.
        credentials: Returns botocore's credentials. It is called if the keys are neither in the environment nor in the
            file of credentials, or if they expire.

    Returns:
        The route that `addressing.describe` finds with botocore, except for the User-Agent, which names this SDK only.
        None if a client of botocore has to find it.

    Raises:
        ConfigurationError: botocore finds no credentials.
    """
    environment = os.environ
    if sys.platform != "linux" or _may_be_observed():
        return None  # the settings of other systems may contain a proxy
    if not all(map(_is_known, environment)):
        return None
    profile = _profile(environment.get("AWS_PROFILE"))
    if profile is None:
        return None
    region = region or environment.get("AWS_DEFAULT_REGION", profile.get("region"))
    domain = _domain(region)
    if not region or domain is None or environment.get("AWS_REGION", region) != region:
        return None
    bundle = environment.get("AWS_CA_BUNDLE", environment.get("REQUESTS_CA_BUNDLE"))
    address = _address(endpoint_url or f"https://runtime.sagemaker.{region}.{domain}")
    if address is None or (bundle is not None and not bundle.strip()):
        return None
    scheme, host, port = address
    ca_file = bundle or _default_bundle()
    if ca_file is None:
        return None
    keys, refreshes = _keys(environment, profile) or keys_of(credentials())
    return Route(
        scheme=scheme,
        host=host,
        port=port,
        authority=host if port == _PORTS[scheme] else f"{host}:{port}",
        prefix="",
        region=region,
        service="sagemaker",
        user_agent=_user_agent(environment.get("AWS_EXECUTION_ENV", "")),
        verify=True,
        ca_file=ca_file,
        socket_options=((socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),),
        keys=keys,
        refreshes=refreshes,
    )


def _may_be_observed() -> bool:
    """Return whether other code may observe botocore's calls: it has imported botocore, or watches imports."""
    if "botocore" in sys.modules:
        return True
    for hook in sys.meta_path:
        module = getattr(hook, "__module__", None) or type(hook).__module__
        if not module.startswith(_KNOWN_HOOKS):
            return True
    return False


def _is_known(name: str) -> bool:
    if name.startswith("AWS_"):
        return name in _KNOWN or name in _OF_CREDENTIALS or name.startswith(_KNOWN_PREFIXES)
    lower = name.lower()
    return not lower.startswith(_FOREIGN_PREFIXES) and not lower.endswith(_FOREIGN_SUFFIX)


def _domain(region: str | None) -> str | None:
    """Return the domain of AWS's hosts in a region; None if the region has another form than AWS's regions."""
    parts = (region or "").split("-")
    gov = parts[:2] == ["us", "gov"] and len(parts) == 4
    if gov:
        del parts[1]
    if len(parts) != 3:
        return None
    area, place, number = parts
    if not (place.isascii() and place.isalpha() and place.islower() and number.isascii() and number.isdigit()):
        return None
    if place in _OTHER_PARTITIONS:
        return None
    if area == "cn":
        return "amazonaws.com.cn"
    return "amazonaws.com" if area in _PARTITION_PREFIXES else None


def _address(url: str) -> tuple[str, str, int] | None:
    """Return scheme, host and port of an endpoint URL; None if it has more than these."""
    scheme, mark, rest = url.partition("://")
    if not mark or scheme not in _PORTS:
        return None
    host, colon, port = rest.partition(":")
    if not host or not _HOST_CHARACTERS.issuperset(host) or not all(host.split(".")):
        return None
    if any(label.startswith("-") or label.endswith("-") or len(label) > 63 for label in host.split(".")):
        return None
    if not colon:
        return scheme, host, _PORTS[scheme]
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and port[0] != "0" and int(port) < 65_536):
        return None
    return scheme, host, int(port)


def _keys(environment: Mapping[str, str], profile: Mapping[str, str]) -> tuple[Callable[[], Keys], bool] | None:
    """Return the keys of the environment or the profile, which do not expire; None if botocore has to provide them."""
    access = environment.get("AWS_ACCESS_KEY_ID")
    if access:
        secret, token = environment.get("AWS_SECRET_ACCESS_KEY"), environment.get("AWS_SESSION_TOKEN")
        if not _OF_KEYS.isdisjoint(environment):
            return None
    else:
        access, secret = profile.get("aws_access_key_id"), profile.get("aws_secret_access_key")
        token = profile.get("aws_session_token")
        if not (_CREDENTIAL_KEYS - _STATIC_KEYS).isdisjoint(profile) or not _OF_CREDENTIALS.isdisjoint(environment):
            return None
    if not (access and secret):
        return None
    found = Keys(access, secret, token or None)
    return lambda: found, False


def _profile(name: str | None) -> dict[str, str] | None:
    """Return the profile of the files below `~/.aws`; None if they may contain more that botocore reads.

    Args:
        name: Name of the profile; None means the default profile, which need not exist.
    """
    wanted = "default" if name is None else name
    if not wanted or not _PROFILE_NAME.issuperset(wanted):
        return None
    folder = os.path.join(os.path.expanduser("~"), ".aws")
    if os.path.exists(os.path.join(folder, "models")):
        return None  # it may contain models of services and rules of endpoints
    heading = wanted if wanted == "default" else f"profile {wanted}"
    config = _section(os.path.join(folder, "config"), heading, wanted, _PROFILE_KEYS)
    credentials = _section(os.path.join(folder, "credentials"), wanted, wanted, _STATIC_KEYS)
    if config is None or credentials is None or not _STATIC_KEYS.isdisjoint(config):
        return None
    return None if name is not None and not config and not credentials else config | credentials


def _section(path: str, heading: str, name: str, accepted: frozenset[str]) -> dict[str, str] | None:
    """Return the section of a profile in a file; empty if there is none; None if the file is unusual."""
    if not os.path.exists(path):
        return {}
    import configparser

    parser = configparser.RawConfigParser()
    try:
        parser.read([path])
    except (configparser.Error, OSError, UnicodeError):
        return None
    for section in parser.sections():
        # botocore reads `[profile "name"]` as a shell does.
        plain = section.replace('"', "").replace("'", "")
        if "\\" in section or (section != heading and name in plain.split()):
            return None
    found = dict(parser.items(heading)) if parser.has_section(heading) else {}
    if not accepted.issuperset(found) or not all(value and "\n" not in value for value in found.values()):
        return None
    return found


def _default_bundle() -> str | None:
    """Return the file of the authorities that botocore trusts: certifi's if it is installed, else its own."""
    from importlib.util import find_spec

    try:
        if find_spec("certifi") is not None:
            from importlib import import_module

            return str(import_module("certifi").where())
        botocore = find_spec("botocore")
        folder = botocore.submodule_search_locations[0] if botocore and botocore.submodule_search_locations else ""
    except (ValueError, ImportError, AttributeError):
        return None  # a module that is not what an installation has
    path = os.path.join(folder, "cacert.pem")
    return path if os.path.isfile(path) else None


def _user_agent(execution: str) -> str:
    """Return the User-Agent in the format of AWS's SDKs."""
    system, python = os.uname(), ".".join(map(str, sys.version_info[:3]))
    text = (
        f"mme_sdk/{__version__} ua/2.1 os/linux#{system.release} md/arch#{system.machine} lang/python#{python}"
        f" md/pyimpl#{sys.implementation.name}"
    )
    plain = "".join(one if one.isascii() and (one.isalnum() or one in "-._") else "-" for one in execution)
    return f"{text} exec-env/{plain}" if plain else text
