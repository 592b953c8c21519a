"""Read from a `sagemaker-runtime` client where it sends its requests and how it signs them, once per client.

Endpoint URL, region and algorithm are taken from a presigned URL, which botocore creates without network access by the
rules of a request. TLS settings, proxies and event handlers are read from private attributes of the client. If these
differ from the known versions of botocore, the result is `Unsupported`, and botocore sends the requests.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from types import FunctionType
from typing import Any

import attrs

from mme_sdk.errors import ConfigurationError

__all__ = ["Keys", "Route", "Unsupported", "describe", "keys_of", "other_handlers"]

_EVENTS = (
    "provide-client-params",
    "before-parameter-build",
    "before-endpoint-resolution",
    "before-call",
    "request-created",
    "choose-signer",
    "before-sign",
    "before-send",
    "before-parse",
    "response-received",
    "needs-retry",
    "after-call",
    "after-call-error",
)
_OWN = ("botocore", "boto3", "mme_sdk.aws")
_PLAIN_PREFIX = r"(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*"
_PROBE = "/endpoints/mme-sdk-probe/invocations"


@attrs.frozen
class Keys:
    """AWS credentials at one time.

    Attributes:
        access: Access key id.
        secret: Secret access key.
        token: Session token; None for permanent credentials.
    """

    access: str
    secret: str = attrs.field(repr=False)
    token: str | None = attrs.field(repr=False)


@attrs.frozen(kw_only=True)
class Route:
    """Connection and signature settings of a client.

    Attributes:
        scheme: `http` or `https`.
        host: Name or address to connect to.
        port: Port to connect to.
        authority: Host header. It has no port if that is the default port of the scheme.
        prefix: Path before `/endpoints/…`. It is empty or begins with a slash.
        region: Region in the signature.
        service: Service in the signature.
        user_agent: User-Agent header.
        verify: Whether the server's certificate is verified.
        ca_file: File or directory of trusted certificates. It is used only if `verify` is True.
        socket_options: Arguments of `setsockopt`.
        keys: Returns the current credentials. It may request new ones over the network.
        refreshes: Whether `keys` can block for such a request.
    """

    scheme: str
    host: str
    port: int
    authority: str
    prefix: str
    region: str
    service: str
    user_agent: str
    verify: bool
    ca_file: str | None
    socket_options: tuple[tuple[int, int, int], ...]
    keys: Callable[[], Keys] = attrs.field(repr=False)
    refreshes: bool

    @property
    def url(self) -> str:
        """The URL: scheme, authority and path prefix."""
        return f"{self.scheme}://{self.authority}{self.prefix}"


@attrs.frozen
class Unsupported:
    """Reason why only botocore can send the requests of a client."""

    reason: str


def describe(client: Any) -> Route | Unsupported:
    """Return the settings of a client, or the reason why botocore has to send its requests.

    Args:
        client: A boto3 client of `sagemaker-runtime`.

    Returns:
        The route, or the reason.

    Raises:
        ConfigurationError: The region or the credentials are missing, or the endpoint URL is not valid.
    """
    from mme_sdk.aws.error_translation import translating

    with translating(service="sagemaker-runtime", operation="invoke_endpoint"):
        url = client.generate_presigned_url(
            "invoke_endpoint", Params={"EndpointName": "mme-sdk-probe", "Body": b""}, ExpiresIn=60
        )
    try:
        return _described(client, url)
    except ValueError as error:
        raise ConfigurationError(
            f"the endpoint URL is not valid ({error})",
            hint="check endpoint_url=, and AWS_ENDPOINT_URL in the environment",
        ) from error
    except (AttributeError, KeyError, TypeError) as error:
        return Unsupported(f"this version of botocore is not supported ({error})")


def _described(client: Any, url: str) -> Route | Unsupported:
    import re
    from urllib.parse import parse_qs, urlsplit

    parts = urlsplit(url)
    query = parse_qs(parts.query)
    algorithm = query.get("X-Amz-Algorithm", ["none"])[0]
    if algorithm != "AWS4-HMAC-SHA256":
        return Unsupported(f"the client signs with {algorithm}")
    _, _, region, service, _ = query["X-Amz-Credential"][0].rsplit("/", 4)
    prefix = parts.path.removesuffix(_PROBE)
    if prefix == parts.path or not re.fullmatch(_PLAIN_PREFIX, prefix):
        return Unsupported(f"the path {parts.path!r} of the endpoint URL needs normalisation by botocore")
    if parts.username is not None or parts.hostname is None or not parts.hostname.isascii():
        return Unsupported("the endpoint URL contains a user name, no host, or a host that is not ASCII")
    if not client.meta.config.user_agent.isprintable():
        return Unsupported("the User-Agent contains control characters")
    http = client._endpoint.http_session
    reason = other_handlers(client, "sagemaker-runtime.InvokeEndpoint")
    if reason is not None:
        return Unsupported(reason)
    if http._proxy_config.proxy_url_for(url):
        return Unsupported("a proxy is configured")
    if http._cert_file or http._key_file:
        return Unsupported("a client certificate is configured")
    if client.meta.config.retries and client.meta.config.retries.get("mode") == "adaptive":
        return Unsupported("botocore limits the request rate in the retry mode `adaptive`")
    keys, refreshes = keys_of(client._request_signer._credentials)
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    default = {"http": 80, "https": 443}[parts.scheme]
    port = parts.port or default
    return Route(
        scheme=parts.scheme,
        host=parts.hostname,
        port=port,
        authority=host if port == default else f"{host}:{port}",
        prefix=prefix,
        region=region,
        service=service,
        user_agent=client.meta.config.user_agent,
        verify=http._verify is not False,
        ca_file=_ca_file(http._verify),
        socket_options=tuple((level, name, value) for level, name, value in http._socket_options),
        keys=keys,
        refreshes=refreshes,
    )


def keys_of(credentials: Any) -> tuple[Callable[[], Keys], bool]:
    """Return a function that reads botocore's credentials, and whether it may have to request new ones."""
    from botocore.credentials import RefreshableCredentials

    def keys() -> Keys:
        try:
            frozen = credentials.get_frozen_credentials()
        except Exception as error:
            raise ConfigurationError(
                f"the AWS credentials could not be refreshed ({error})", hint="log in again, or check the IAM role"
            ) from error
        return Keys(frozen.access_key, frozen.secret_key, frozen.token or None)

    return keys, isinstance(credentials, RefreshableCredentials)


def _ca_file(verify: Any) -> str | None:
    if verify is False:
        return None
    from botocore.httpsession import get_cert_path

    return str(get_cert_path(True if verify is None else verify))


def other_handlers(client: Any, operation: str) -> str | None:
    """Return which other code observes a client's calls of an operation. It would not see calls without botocore.

    Args:
        client: A boto3 client.
        operation: Service and operation as in the names of botocore's events, such as `s3.PutObject`.
    """
    from botocore.client import BaseClient

    # Tracing libraries replace this method by a proxy object or by their own function.
    wrapper: Any = BaseClient._make_api_call
    if type(wrapper) is not FunctionType or not wrapper.__globals__["__name__"].startswith("botocore."):
        return "botocore's calls are instrumented by another library"
    handlers = client.meta.events._emitter._handlers
    for event in _EVENTS:
        for handler in handlers.prefix_search(f"{event}.{operation}"):
            module = _module(handler)
            if not module.startswith(_OWN) or module == "botocore.stub":
                return f"an event handler of {module or 'unknown origin'} is registered for `{event}`"
    return None


def _module(handler: Any) -> str:
    while isinstance(handler, functools.partial):
        handler = handler.func
    if not (inspect.ismethod(handler) or inspect.isfunction(handler)):
        handler = type(handler)
    return getattr(handler, "__module__", None) or ""
