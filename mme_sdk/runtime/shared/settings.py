"""`Shared`: where processes share leases, cold slots, the rate of calls and load times."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import attrs

from mme_sdk._tracebacks import short_tracebacks
from mme_sdk._validation import as_float, number, optional, optional_float
from mme_sdk.errors import InvalidInputError

__all__ = ["Password", "Shared"]

_SCHEMES = ("redis", "rediss")
_NAMESPACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,99}")
_HOST = re.compile(r"[^\s\x00-\x20\x7f\ud800-\udfff]+")
_HINT = "pass 'redis://host:6379/0', 'rediss://host:6379' or 'file:/path/of/the/file'"


class Password:
    """A password. Neither its text form nor a pickle shows it.

    Attributes:
        value: The password.
    """

    __slots__ = ("value",)

    def __init__(self, value: str) -> None:
        self.value = value

    def __repr__(self) -> str:
        return "***"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Password) and other.value == self.value

    def __hash__(self) -> int:
        return hash(self.value)

    def __deepcopy__(self, memo: dict[int, Any]) -> Password:
        return self

    def __copy__(self) -> Password:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        from mme_sdk.aws.travel import refuse_pickle

        raise refuse_pickle(
            "a Shared with a password",
            "set the password in an environment variable of each process, and pass its name as password_env",
        )


def _password(value: Password | str | None) -> Password | None:
    if value is None or isinstance(value, Password):
        return value
    if not isinstance(value, str) or not value:
        raise InvalidInputError("Shared.password must be a text that is not empty, or None")
    return Password(value)


def _check_namespace(_: Any, __: Any, value: Any) -> None:
    if not isinstance(value, str) or not _NAMESPACE.fullmatch(value):
        raise InvalidInputError(
            f"Shared.namespace must have 1 to 100 letters, digits and '._:-', not {str(value)[:80]!r}"
        )


def _check_variable(_: Any, __: Any, value: Any) -> None:
    if value is not None and not (isinstance(value, str) and value):
        raise InvalidInputError("Shared.password_env must be the name of an environment variable, or None")


@short_tracebacks
@attrs.frozen
class Shared:
    """Where processes share leases, cold slots, the rate of calls and load times. Pass it to `Memory(shared=…)`.

    It is a settings object: it connects when a call needs the store, once in each process, and can be pickled. A
    password does not travel: pass `password_env` if processes on other machines get the object.

    If the store does not answer, calls continue: each process keeps its share of the last known rate, loads models
    without asking the others, and looks for the store again every two seconds.

    Attributes:
        url: `redis://[user[:password]@]host[:port][/database]`, `rediss://…` with TLS, for Redis or Valkey; or
            `file:/path`, a SQLite file on a local disk, for the processes of one machine. The password of a URL is
            moved to `password`.
        rate: Calls a second that all processes together may send to each endpoint, from 0.1 to 1,000,000. Default
            None: the rate is learned. Then calls have no limit until the endpoint throttles.
        namespace: Beginning of all keys. Applications, AWS accounts and regions that share a store need one each.
            Default `mme`.
        password: Password of the server. Default None.
        password_env: Name of the environment variable that has the password in each process. Default None.
        timeout: Longest wait for the store, in seconds, at most 10. Default 0.1.

    Raises:
        InvalidInputError: A value is invalid.

    Example:
        >>> from mme_sdk.runtime import Memory
        >>> shared = Shared("redis://:secret@cache.internal", rate=150)
        >>> shared
        Shared(url='redis://cache.internal', rate=150.0, namespace='mme', password_env=None, timeout=0.1)
        >>> Memory(shared=shared).shared is shared
        True
    """

    url: str
    rate: float | None = attrs.field(
        default=None, kw_only=True, converter=optional_float, validator=optional(number(at_least=0.1, at_most=1e6))
    )
    namespace: str = attrs.field(default="mme", kw_only=True, validator=_check_namespace)
    password: Password | str | None = attrs.field(default=None, kw_only=True, converter=_password, repr=False)
    password_env: str | None = attrs.field(default=None, kw_only=True, validator=_check_variable)
    timeout: float = attrs.field(default=0.1, kw_only=True, converter=as_float, validator=number(over=0, at_most=10))

    def __attrs_post_init__(self) -> None:
        if not isinstance(self.url, str):
            raise InvalidInputError("Shared.url must be a text", hint=_HINT)
        if self.url.startswith("file:"):
            object.__setattr__(self, "url", _file_url(self.url))
        else:
            url, password = _server_url(self.url)
            object.__setattr__(self, "url", url)
            if password is not None:
                if self.password is not None:
                    raise InvalidInputError("Shared.url has a password, and Shared.password is another one")
                object.__setattr__(self, "password", Password(password))
        if (self.password is not None) + (self.password_env is not None) > (not self.url.startswith("file:")):
            what = "a file has no password" if self.url.startswith("file:") else "they exclude each other"
            raise InvalidInputError(f"Shared.password and Shared.password_env: {what}")


def _file_url(url: str) -> str:
    path = url.removeprefix("file:")
    if path.startswith("//"):
        path = path[2:]
        if not path.startswith("/"):
            raise InvalidInputError("Shared.url names a file of another machine", hint=_HINT)
    if not path or path.endswith("/") or "\0" in path or _has_surrogates(path):
        raise InvalidInputError("Shared.url names no file", hint=_HINT)
    return f"file:{Path(path).absolute()}"


def _has_surrogates(text: str) -> bool:
    return any("\ud800" <= one <= "\udfff" for one in text)


def _server_url(url: str) -> tuple[str, str | None]:
    """Return the URL without its password, and the password. The errors do not show the URL: it may have a password."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise InvalidInputError("Shared.url is not a valid URL", hint=_HINT) from None
    if parts.scheme not in _SCHEMES or not parts.hostname or not _HOST.fullmatch(parts.hostname):
        raise InvalidInputError("Shared.url is not the URL of a Redis server or of a file", hint=_HINT)
    if parts.query or parts.fragment or not re.fullmatch(r"(/\d*)?", parts.path):
        raise InvalidInputError(
            "Shared.url has something after the number of the database", hint=f"{_HINT}; options are fields of Shared"
        )
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    user = f"{parts.username}@" if parts.username else ""
    address = f"{parts.scheme}://{user}{host}{'' if port is None else f':{port}'}{parts.path.rstrip('/')}"
    return address, None if not parts.password else unquote(parts.password)
