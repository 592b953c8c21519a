"""The settings of a boto3 session, with which it is made again in another process. Credentials are not among them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mme_sdk._travel import refuse_pickle

if TYPE_CHECKING:
    from mme_sdk.aws.session import Session

__all__ = ["session_of", "settings_of"]


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
