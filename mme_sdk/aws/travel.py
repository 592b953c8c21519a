"""How clients, handles and registries travel between processes: as settings, which become one object a process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from mme_sdk.errors import InvalidInputError

if TYPE_CHECKING:
    from mme_sdk.aws.session import Session

__all__ = ["new_identity", "reduce_client", "refuse_pickle", "revive"]

T = TypeVar("T")
_MAX_KEPT = 64  # objects that a process keeps alive; a program exceeds it only if it generates clients
_KEPT: dict[str, Any] = {}


def new_identity() -> str:
    """Return the identity of an object that travels. All of its pickles have the same one."""
    import uuid

    return uuid.uuid4().hex


def revive(identity: str, make: Callable[..., T], arguments: tuple[Any, ...]) -> T:
    """Return the object of this process with an identity. It is made by the first call, and after it was closed.

    Args:
        identity: The identity.
        make: Makes the object. Threads that race may make several; one is kept.
        arguments: Arguments of `make`.
    """
    found = _KEPT.get(identity)
    if found is not None and not getattr(found, "_closed", False):
        kept: T = found
        return kept
    if found is not None:
        _KEPT.pop(identity, None)
    new: Any = make(*arguments)
    new._identity = identity  # a pickle of it is one of the same object
    made: T = _KEPT.setdefault(identity, new)
    while len(_KEPT) > _MAX_KEPT:
        _KEPT.pop(next(iter(_KEPT)), None)  # programs that have it can still use it
    return made


def refuse_pickle(what: str, instead: str) -> InvalidInputError:
    """Return the error of an object that cannot travel.

    Args:
        what: The object.
        instead: What to do instead.
    """
    return InvalidInputError(f"{what} cannot be pickled or copied to another process", hint=instead)


def reduce_client(client: Any) -> tuple[Any, ...]:
    """Return how a client is pickled: as its settings, without credentials.

    Args:
        client: The client. Its `_keywords` make another one like it.

    Raises:
        InvalidInputError: A setting cannot travel, or would take a secret along.
    """
    from mme_sdk.display.shown import without_secrets

    keywords = client._keywords()
    url, session = keywords["endpoint_url"], keywords["session"]
    if isinstance(url, Mapping):
        url = keywords["endpoint_url"] = dict(url)
    for address in [] if url is None else url.values() if isinstance(url, dict) else [url]:
        if "@" in address or "?" in address:
            raise refuse_pickle(
                f"a client of {without_secrets(address)}, an endpoint_url that holds more than an address,",
                "pass an endpoint_url without user, password and query",
            )
    if session is not None:
        region, keywords["session"] = settings_of(session)
        keywords["region"] = keywords["region"] or region
    client._identity = getattr(client, "_identity", None) or new_identity()
    return revive, (client._identity, _client_of, (type(client), keywords))


def _client_of(kind: type[T], keywords: dict[str, Any]) -> T:
    if keywords["session"] is not None:
        keywords = keywords | {"session": session_of(keywords["session"], keywords["region"])}
    return kind(**keywords)


def settings_of(session: Session) -> tuple[str | None, str | None]:
    """Return the region of a boto3 session, and the profile that it was made with. Neither is a secret.

    Raises:
        InvalidInputError: The session is of another class, whose settings are not known.
    """
    import boto3

    if not isinstance(session, boto3.Session):
        raise refuse_pickle(
            f"a client with a session of the class {type(session).__name__}",
            "pass a boto3.Session, or none: the other process finds its own credentials",
        )
    profile = session._session.instance_variables().get("profile")
    return session.region_name, profile


def session_of(profile: str, region: str | None) -> Session:
    """Return a boto3 session of a profile.

    Raises:
        ConfigurationError: This machine has no such profile.
    """
    import boto3

    from mme_sdk.aws.error_translation import translating

    with translating(service="sts", operation="client"):
        return boto3.Session(profile_name=profile, region_name=region)
