"""Decide whether the signer of a request may make it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from datetime import datetime
from typing import Any

from mme_sdk.local.control.account import Account
from mme_sdk.local.control.iam.actions import Check, checks_of
from mme_sdk.local.control.iam.documents import parse_trust_policy
from mme_sdk.local.control.iam.evaluation import Decision, Principal, decide, trusts
from mme_sdk.local.control.iam.identities import Identities
from mme_sdk.local.control.store import Store
from mme_sdk.local.wire.errors import ApiError

__all__ = ["CALLER", "Authorizer", "denied"]

CALLER: ContextVar[Principal] = ContextVar("caller")
"""Who signed the request that is running."""

_SAGEMAKER = "sagemaker.amazonaws.com"


class Authorizer:
    """Evaluates the policies of users and roles.

    Args:
        identities: The users, roles and keys.
        store: Holds models and tags.
        account: The account of the resources.
        now: Function that returns the current time.
    """

    def __init__(self, identities: Identities, store: Store, account: Account, now: Callable[[], datetime]) -> None:
        self.identities = identities
        self._store = store
        self._account = account
        self._now = now

    def check(self, access_key: str, service: str, operation: str, params: Mapping[str, Any]) -> Principal:
        """Return who signed a request, if the policies allow the request.

        Args:
            access_key: The access key id of the signature.
            service: botocore's name of the service.
            operation: Name of the operation.
            params: Its parameters.

        Raises:
            ApiError: AccessDeniedException or AccessDenied. No policy allows the request, or one denies it.
        """
        principal = self.identities.principal(access_key)
        if principal.kind == "Account":
            return principal
        for needed in checks_of(service, operation, params, self._account, self._find):
            decision = self.decide(principal, needed)
            if decision.kind != "allowed":
                raise denied(principal, needed, decision, service)
        return principal

    def decide(self, principal: Principal, needed: Check) -> Decision:
        """Return whether the policies of a principal allow a request.

        Args:
            principal: Who signed it.
            needed: The action, the resource, and the condition keys of the request.
        """
        context = {**self.context_of(principal), **self._tags_of(needed.resource), **needed.context}
        return decide(principal, needed.action, needed.resource, context)

    def context_of(self, principal: Principal) -> dict[str, list[str]]:
        """Return the values of the condition keys that every request has.

        Args:
            principal: Who signed the request.
        """
        now = self._now()
        context: dict[str, list[str]] = {
            "aws:principalarn": [principal.role_arn or principal.arn],
            "aws:principalaccount": [self._account.account_id],
            "aws:principaltype": [str(principal.kind)],
            "aws:userid": [principal.user_id],
            "aws:currenttime": [now.isoformat()],
            "aws:epochtime": [str(now.timestamp())],
            "aws:requestedregion": [self._account.region],
            "aws:resourceaccount": [self._account.account_id],
            "aws:securetransport": ["false"],
            "aws:sourceip": ["127.0.0.1"],
        }
        if principal.kind == "User":
            context["aws:username"] = [principal.name]
        return context | {f"aws:principaltag/{key.lower()}": [value] for key, value in principal.tags.items()}

    def check_can_be_assumed(self, role_arn: str) -> None:
        """Raise ApiError unless a role exists and trusts SageMaker.

        Raises:
            ApiError: ValidationException, with the text of CreateModel.
        """
        name = role_arn.rpartition("/")[2]
        found = next((one for one in self.identities.all("role") if one["arn"] == role_arn), None)
        if found is None or not trusts(parse_trust_policy(name, found["trust"]), [_SAGEMAKER], {}, kind="Service"):
            text = (
                f"Could not assume role {role_arn}. Please ensure that the role exists and allows principal "
                f"'{_SAGEMAKER}' to assume the role."
            )
            raise ApiError("ValidationException", text)

    def role_allows(self, role_arn: str, action: str, resource: str, context: Mapping[str, list[str]]) -> bool:
        """Return whether the policies of an execution role allow an action.

        Args:
            role_arn: ARN of the role. The answer is False if it does not exist any more.
            action: Action, such as `s3:GetObject`.
            resource: ARN of the resource.
            context: Values of the condition keys of the request, with lower-case keys.
        """
        if all(one["arn"] != role_arn for one in self.identities.all("role")):
            return False
        role = self.identities.principal_of_arn("role", role_arn.rpartition("/")[2])
        return self.allows(role, action, resource, context)

    def allows(self, principal: Principal, action: str, resource: str, context: Mapping[str, list[str]]) -> bool:
        """Return whether the policies of a principal allow an action.

        Args:
            principal: The user or role.
            action: Action, such as `s3:ListBucket`.
            resource: ARN of the resource.
            context: Values of the condition keys of the request, with lower-case keys.
        """
        return self.decide(principal, Check(action=action, resource=resource, context=context)).kind == "allowed"

    def _find(self, kind: str, name: str) -> dict[str, Any] | None:
        if kind == "scalable-target":
            return next((one for _, one in self._store.all(kind) if one["ResourceId"] == name), None)
        return self._store.get(kind, name)

    def _tags_of(self, arn: str) -> dict[str, list[str]]:
        if arn.startswith("arn:") and arn.split(":")[2] == "iam":
            identity, _, name = arn.rpartition(":")[2].partition("/")
            found = self._store.get(f"iam-{identity}", name.rpartition("/")[2])
            tags = {} if found is None else found.get("tags", {})
        else:
            tags = self._store.get("tags", arn) or {}
        context = {f"aws:resourcetag/{key.lower()}": [value] for key, value in tags.items()}
        if arn.startswith("arn:") and arn.split(":")[2] == "sagemaker":
            context |= {f"sagemaker:resourcetag/{key.lower()}": [value] for key, value in tags.items()}
        return context


def denied(principal: Principal, needed: Check, decision: Decision, service: str) -> ApiError:
    """Return the error of a request that is not allowed.

    Args:
        principal: Who signed the request.
        needed: The permission that is missing.
        decision: The decision about it.
        service: botocore's name of the service.
    """
    resource = f'"{needed.resource}"' if service == "s3" else needed.resource
    text = (
        f"User: {principal.arn} is not authorized to perform: {needed.action} on resource: {resource} "
        f"{decision.reason(needed.action)}"
    )
    query = service in ("cloudwatch", "iam", "s3", "sts")
    status = 403 if query or service == "sagemaker-runtime" else 400
    return ApiError("AccessDenied" if query else "AccessDeniedException", text, status=status)
