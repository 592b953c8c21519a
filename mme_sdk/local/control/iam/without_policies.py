"""IAM of a host that evaluates no policies: GetRole and SimulatePrincipalPolicy.

Clients look up the role of a model before they create it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from mme_sdk.local.control.account import Account
from mme_sdk.local.control.sagemaker.resources import paginate
from mme_sdk.local.wire.errors import ApiError

__all__ = ["IamWithoutPolicies", "check_simulation", "page"]

_CREATED = datetime(2020, 1, 1, tzinfo=UTC)
_ACTION = re.compile(r"[A-Za-z0-9-]+:[A-Za-z0-9*?]+")
_PRINCIPAL = re.compile(r"arn:[\w-]+:iam::([0-9]{12}):(role|user|group)/\S+")
_TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}],
}


class IamWithoutPolicies:
    """The `iam` service of a host that evaluates no policies.

    Every role exists, so that a configuration for AWS needs no change. Every action is allowed, as it is in the other
    services of the host.

    Args:
        account: The account of the roles.
    """

    service = "iam"
    hint = " Start it with LocalSageMaker(iam=True), or with --iam, for users, roles and policies."

    def __init__(self, account: Account) -> None:
        self._account = account
        self.operations: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
            "GetRole": self._get_role,
            "SimulatePrincipalPolicy": self._simulate_principal_policy,
        }

    def _get_role(self, params: dict[str, Any]) -> dict[str, Any]:
        name = params["RoleName"]
        return {
            "Role": {
                "Path": "/",
                "RoleName": name,
                "RoleId": f"AROA{hashlib.sha256(name.encode()).hexdigest()[:17].upper()}",
                "Arn": self._account.arn_of("iam", f"role/{name}", regional=False),
                "CreateDate": _CREATED,
                "AssumeRolePolicyDocument": quote(json.dumps(_TRUST)),
                "MaxSessionDuration": 3600,
            }
        }

    def _simulate_principal_policy(self, params: dict[str, Any]) -> dict[str, Any]:
        check_simulation(params, self._account)
        results = [
            {
                "EvalActionName": action,
                "EvalResourceName": resource,
                "EvalDecision": "allowed",
                "MatchedStatements": [],
                "MissingContextValues": [],
            }
            for action in params["ActionNames"]
            for resource in params.get("ResourceArns") or ["*"]
        ]
        return page(results, params, "EvaluationResults")


def check_simulation(params: dict[str, Any], account: Account) -> str:
    """Return the kind of the principal of SimulatePrincipalPolicy: `role`, `user` or `group`.

    Raises:
        ApiError: The principal does not belong to the account, or an action has no service.
    """
    principal = params["PolicySourceArn"]
    found = _PRINCIPAL.fullmatch(principal)
    if found is None:
        raise ApiError("InvalidInput", f"Invalid Entity Arn: {principal} does not identify a user, group or role.")
    if found[1] != account.account_id:
        raise ApiError("NoSuchEntity", f"The entity with ARN {principal} cannot be found.", status=404)
    for action in params["ActionNames"]:
        if not _ACTION.fullmatch(action):
            raise ApiError("InvalidInput", f"Invalid Action Name: {action} is not service:Action.")
    return found[2]


def page(items: list[Any], params: dict[str, Any], member: str) -> dict[str, Any]:
    """Return a page of a list, as IAM returns it.

    Args:
        items: The whole list.
        params: Parameters MaxItems and Marker.
        member: The member of the response that holds the list.

    Raises:
        ApiError: InvalidInput. The marker is invalid.
    """
    given = {"MaxResults": params.get("MaxItems", 100)} | (
        {"NextToken": params["Marker"]} if "Marker" in params else {}
    )
    shown = paginate(items, given, member, code="InvalidInput")
    marker = shown.pop("NextToken", None)
    return shown | {"IsTruncated": marker is not None, "Marker": marker}
