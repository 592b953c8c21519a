"""STS: GetCallerIdentity, and AssumeRole on a host that evaluates policies."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from mme_sdk.local.control.account import Account
from mme_sdk.local.control.iam.actions import Check
from mme_sdk.local.control.iam.authorizer import CALLER, Authorizer
from mme_sdk.local.control.iam.documents import parse_identity_policy, parse_trust_policy
from mme_sdk.local.control.iam.evaluation import Principal, trusts
from mme_sdk.local.wire.errors import ApiError

__all__ = ["Sts"]

_SESSION_SECONDS = 3600
_ROLE = re.compile(r"arn:[\w-]+:iam::[0-9]{12}:role/\S+")


class Sts:
    """The `sts` service.

    Args:
        account: The account of every caller.
        authorizer: Has the users and roles; None if the host evaluates no policies.
    """

    service = "sts"
    hint = " Start it with LocalSageMaker(iam=True), or with --iam, for users, roles and policies."

    def __init__(self, account: Account, authorizer: Authorizer | None = None) -> None:
        self._account = account
        self._authorizer = authorizer
        self.operations: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
            "GetCallerIdentity": self._get_caller_identity
        }
        if authorizer is not None:
            self.operations["AssumeRole"] = self._assume_role

    def _get_caller_identity(self, _params: dict[str, Any]) -> dict[str, Any]:
        account_id = self._account.account_id
        if self._authorizer is None:
            arn = self._account.arn_of("iam", "root", regional=False)
            return {"UserId": account_id, "Account": account_id, "Arn": arn}
        caller = CALLER.get()
        return {"UserId": caller.user_id, "Account": account_id, "Arn": caller.arn}

    def _assume_role(self, params: dict[str, Any]) -> dict[str, Any]:
        assert self._authorizer is not None
        identities, caller, arn = self._authorizer.identities, CALLER.get(), params["RoleArn"]
        if not _ROLE.fullmatch(arn):
            raise ApiError("ValidationError", f"{arn} is invalid")
        tags = {one["Key"]: one["Value"] for one in params.get("Tags", [])}
        role = next((one for one in identities.all("role") if one["arn"] == arn), None)
        if role is None or not self._may_assume(caller, role["trust"], arn, params.get("ExternalId"), tags):
            text = f"User: {caller.arn} is not authorized to perform: sts:AssumeRole on resource: {arn}"
            raise ApiError("AccessDenied", text, status=403)
        seconds = params.get("DurationSeconds", _SESSION_SECONDS)
        if seconds > role["seconds"]:
            text = "The requested DurationSeconds exceeds the MaxSessionDuration set for this role."
            raise ApiError("ValidationError", text)
        policy = params.get("Policy")
        if policy is not None:
            parse_identity_policy("session", policy)
        key = identities.create_session(role["name"], params["RoleSessionName"], seconds, tags, policy)
        session = identities.principal(key["access_key"])
        return {
            "Credentials": {
                "AccessKeyId": key["access_key"],
                "SecretAccessKey": key["secret"],
                "SessionToken": key["token"],
                "Expiration": key["expires"],
            },
            "AssumedRoleUser": {"AssumedRoleId": session.user_id, "Arn": session.arn},
        }

    def _may_assume(
        self, caller: Principal, trust: str, arn: str, external_id: str | None, tags: dict[str, str]
    ) -> bool:
        """Return whether the role trusts the caller by name, or trusts the account and a policy allows the caller."""
        assert self._authorizer is not None
        document = parse_trust_policy("trust", trust)
        context = self._authorizer.context_of(caller) | {
            f"aws:requesttag/{key.lower()}": [value] for key, value in tags.items()
        }
        if external_id is not None:
            context["sts:externalid"] = [external_id]
        actions = ["sts:AssumeRole", *(["sts:TagSession"] if tags else [])]
        root = self._account.arn_of("iam", "root", regional=False)

        def trusted(names: list[str]) -> bool:
            return all(trusts(document, names, context, action=action) for action in actions)

        if caller.kind == "Account":
            return trusted([root, self._account.account_id])
        own = [caller.arn, *([caller.role_arn] if caller.role_arn else [])]
        decisions = [
            self._authorizer.decide(caller, Check(action=action, resource=arn, context=context)).kind
            for action in actions
        ]
        if "explicitDeny" in decisions or not trusted([root, self._account.account_id, *own]):
            return False
        return trusted(own) or decisions == ["allowed"] * len(actions)
