"""Create the IAM users and roles of an embedded SageMaker that evaluates policies."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from mme_sdk.errors import ConfigurationError, InvalidInputError
from mme_sdk.local.control.iam.documents import parse_identity_policy
from mme_sdk.local.credentials import LocalCredentials
from mme_sdk.local.wire.errors import ApiError

__all__ = ["LocalIam"]

_TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}],
}


class LocalIam:
    """Users and roles of an embedded SageMaker: the attribute `iam` of a `LocalSageMaker(iam=True)`.

    `host.boto("iam")` has the other operations of IAM.

    Args:
        make_client: Function that returns a boto3 client for the IAM of the host.
        enabled: Whether the host evaluates policies.

    Attributes:
        enabled: As given.

    Example:
        >>> with LocalSageMaker(iam=True) as host:  # doctest: +SKIP
        ...     role = host.iam.add_role("sagemaker", policies.execution_role("s3://models/prod/"))
        ...     team_a = host.iam.add_user("team-a", policies.invoker("scoring", target_models=["team_a/*"]))
        ...     client = MMEClient(session=host.session(team_a), endpoint_url=host.endpoint_urls)
    """

    def __init__(self, make_client: Callable[[], Any], *, enabled: bool) -> None:
        self._make_client = make_client
        self.enabled = enabled

    def __repr__(self) -> str:
        return f"<LocalIam enabled={self.enabled}>"

    def add_user(self, name: str, *policies: Mapping[str, Any]) -> LocalCredentials:
        """Create a user with policies and an access key.

        Args:
            name: UserName.
            policies: Policy documents, such as those of `mme_sdk.endpoints.policies`. Without one, the user may do
                nothing.

        Returns:
            The access key, for `host.session`.

        Raises:
            ConfigurationError: The host was created without `iam=True`.
            InvalidInputError: The name exists or is not valid, or a document is not a valid policy.
            ClosedError: The host is not running.

        Example:
            >>> session = host.session(host.iam.add_user("team-a", policy))  # doctest: +SKIP
        """
        what = f"the user {name!r}"
        with self._client() as client, _refusals(what):
            texts = _texts(what, policies)
            client.create_user(UserName=name)
            for policy, text in texts.items():
                client.put_user_policy(UserName=name, PolicyName=policy, PolicyDocument=text)
            key = client.create_access_key(UserName=name)["AccessKey"]
        return LocalCredentials(access_key=key["AccessKeyId"], secret_key=key["SecretAccessKey"])

    def add_role(self, name: str, *policies: Mapping[str, Any], trust: Mapping[str, Any] | None = None) -> str:
        """Create a role with policies.

        Args:
            name: RoleName.
            policies: Policy documents, such as those of `mme_sdk.endpoints.policies`. Without one, the role may do
                nothing.
            trust: Trust policy: who may assume the role. Default: SageMaker, as `policies.trust()`.

        Returns:
            The ARN of the role, for `role` of a spec or for AssumeRole.

        Raises:
            ConfigurationError: The host was created without `iam=True`.
            InvalidInputError: The name exists or is not valid, or a document is not a valid policy.
            ClosedError: The host is not running.

        Example:
            >>> role = host.iam.add_role("sagemaker", policies.execution_role("s3://models/prod/"))  # doctest: +SKIP
        """
        what = f"the role {name!r}"
        with self._client() as client, _refusals(what):
            texts = _texts(what, policies)
            trusting = json.dumps(_TRUST if trust is None else trust)
            role = client.create_role(RoleName=name, AssumeRolePolicyDocument=trusting)["Role"]
            for policy, text in texts.items():
                client.put_role_policy(RoleName=name, PolicyName=policy, PolicyDocument=text)
        return str(role["Arn"])

    def _client(self) -> contextlib.closing[Any]:
        if not self.enabled:
            raise ConfigurationError(
                "this host evaluates no policies", hint="create it with LocalSageMaker(iam=True), or with --iam"
            )
        return contextlib.closing(self._make_client())


def _texts(what: str, policies: tuple[Mapping[str, Any], ...]) -> dict[str, str]:
    """Return the JSON text of each policy by name. Check the policies before anything is created."""
    texts: dict[str, str] = {}
    for number, document in enumerate(policies, 1):
        name = f"policy-{number}"
        try:
            texts[name] = json.dumps(document)
            parse_identity_policy(name, texts[name])
        except (ApiError, TypeError, ValueError) as error:
            raise InvalidInputError(f"cannot create {what}: {error}") from error
    return texts


@contextlib.contextmanager
def _refusals(what: str) -> Iterator[None]:
    """Raise InvalidInputError in place of an error of botocore."""
    from botocore.exceptions import ClientError, ParamValidationError

    try:
        yield
    except ClientError as error:
        raise InvalidInputError(f"cannot create {what}: {error.response['Error']['Message']}") from error
    except ParamValidationError as error:
        raise InvalidInputError(f"cannot create {what}: {error}") from error
