"""IAM of a host that evaluates policies: users, access keys, roles and policies, and SimulatePrincipalPolicy."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

from mme_sdk.local.control.account import Account
from mme_sdk.local.control.iam.actions import Check
from mme_sdk.local.control.iam.authorizer import CALLER, Authorizer
from mme_sdk.local.control.iam.documents import parse_identity_policy, parse_trust_policy
from mme_sdk.local.control.iam.identities import Kind, no_such_entity
from mme_sdk.local.control.iam.without_policies import check_simulation, page
from mme_sdk.local.wire.errors import ApiError

__all__ = ["Iam"]

_SESSION_SECONDS = 3600


class Iam:
    """The `iam` service of a host that evaluates policies.

    Args:
        authorizer: Evaluates the policies; has the users and roles.
        account: The account of the identities.
    """

    service = "iam"

    def __init__(self, authorizer: Authorizer, account: Account) -> None:
        self._authorizer = authorizer
        self._identities = authorizer.identities
        self._account = account
        self.operations: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
            "CreateUser": self._create_user,
            "GetUser": self._get_user,
            "DeleteUser": lambda params: self._delete("user", params["UserName"]),
            "ListUsers": lambda params: self._list("user", params, "Users", _user),
            "CreateAccessKey": self._create_access_key,
            "DeleteAccessKey": self._delete_access_key,
            "ListAccessKeys": self._list_access_keys,
            "CreateRole": self._create_role,
            "GetRole": lambda params: {"Role": _role(self._identities.find("role", params["RoleName"]))},
            "DeleteRole": lambda params: self._delete("role", params["RoleName"]),
            "ListRoles": lambda params: self._list("role", params, "Roles", _role),
            "UpdateAssumeRolePolicy": self._update_assume_role_policy,
            "CreatePolicy": self._create_policy,
            "GetPolicy": lambda params: {"Policy": self._policy(self._identities.find_policy(params["PolicyArn"]))},
            "DeletePolicy": self._delete_policy,
            "SimulatePrincipalPolicy": self._simulate_principal_policy,
            **self._policies_of("user", "User"),
            **self._policies_of("role", "Role"),
        }

    def _policies_of(self, kind: Kind, noun: str) -> dict[str, Callable[[dict[str, Any]], dict[str, Any]]]:
        """Return the operations for the policies of users, or those of roles."""
        member = f"{noun}Name"

        def find(params: Mapping[str, Any]) -> dict[str, Any]:
            return self._identities.find(kind, params[member])

        def inline(params: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
            document = find(params)
            if params["PolicyName"] not in document["inline"]:
                raise no_such_entity(f"The {kind} policy with name {params['PolicyName']} cannot be found.")
            return document, document["inline"][params["PolicyName"]]

        def put(params: dict[str, Any]) -> dict[str, Any]:
            document = find(params)
            parse_identity_policy(params["PolicyName"], params["PolicyDocument"])
            document["inline"][params["PolicyName"]] = params["PolicyDocument"]
            self._identities.write(kind, document)
            return {}

        def get(params: dict[str, Any]) -> dict[str, Any]:
            document, text = inline(params)
            return {member: document["name"], "PolicyName": params["PolicyName"], "PolicyDocument": quote(text)}

        def delete(params: dict[str, Any]) -> dict[str, Any]:
            document, _ = inline(params)
            del document["inline"][params["PolicyName"]]
            self._identities.write(kind, document)
            return {}

        def attach(params: dict[str, Any]) -> dict[str, Any]:
            document, policy = find(params), self._identities.find_policy(params["PolicyArn"])
            document["attached"] = [*dict.fromkeys([*document["attached"], policy["arn"]])]
            self._identities.write(kind, document)
            return {}

        def detach(params: dict[str, Any]) -> dict[str, Any]:
            document = find(params)
            if params["PolicyArn"] not in document["attached"]:
                raise no_such_entity(f"Policy {params['PolicyArn']} was not found.")
            document["attached"].remove(params["PolicyArn"])
            self._identities.write(kind, document)
            return {}

        def attached(params: dict[str, Any]) -> dict[str, Any]:
            policies = [self._identities.find_policy(arn) for arn in find(params)["attached"]]
            shown = [
                {"PolicyName": one["name"], "PolicyArn": one["arn"]}
                for one in policies
                if one["path"].startswith(params.get("PathPrefix", "/"))
            ]
            return page(shown, params, "AttachedPolicies")

        return {
            f"Put{noun}Policy": put,
            f"Get{noun}Policy": get,
            f"Delete{noun}Policy": delete,
            f"List{noun}Policies": lambda params: page(sorted(find(params)["inline"]), params, "PolicyNames"),
            f"Attach{noun}Policy": attach,
            f"Detach{noun}Policy": detach,
            f"ListAttached{noun}Policies": attached,
        }

    def _create_user(self, params: dict[str, Any]) -> dict[str, Any]:
        members = {"tags": _tags(params)}
        return {"User": _user(self._identities.create("user", params["UserName"], params.get("Path", "/"), members))}

    def _get_user(self, params: dict[str, Any]) -> dict[str, Any]:
        return {"User": _user(self._identities.find("user", _user_name(params)))}

    def _create_access_key(self, params: dict[str, Any]) -> dict[str, Any]:
        name = _user_name(params)
        key = self._identities.create_key(name)
        return {"AccessKey": _key(key, name) | {"SecretAccessKey": key["secret"]}}

    def _delete_access_key(self, params: dict[str, Any]) -> dict[str, Any]:
        self._identities.delete_key(_user_name(params), params["AccessKeyId"])
        return {}

    def _list_access_keys(self, params: dict[str, Any]) -> dict[str, Any]:
        name = _user_name(params)
        self._identities.find("user", name)
        return page([_key(one, name) for one in self._identities.keys_of(name)], params, "AccessKeyMetadata")

    def _create_role(self, params: dict[str, Any]) -> dict[str, Any]:
        name, trust = params["RoleName"], params["AssumeRolePolicyDocument"]
        parse_trust_policy(name, trust)
        members = {
            "trust": trust,
            "description": params.get("Description"),
            "seconds": params.get("MaxSessionDuration", _SESSION_SECONDS),
            "tags": _tags(params),
        }
        return {"Role": _role(self._identities.create("role", name, params.get("Path", "/"), members))}

    def _update_assume_role_policy(self, params: dict[str, Any]) -> dict[str, Any]:
        document = self._identities.find("role", params["RoleName"])
        parse_trust_policy(params["RoleName"], params["PolicyDocument"])
        self._identities.write("role", document | {"trust": params["PolicyDocument"]})
        return {}

    def _create_policy(self, params: dict[str, Any]) -> dict[str, Any]:
        parse_identity_policy(params["PolicyName"], params["PolicyDocument"])
        members = {"description": params.get("Description"), "tags": _tags(params)}
        document = self._identities.create_policy(
            params["PolicyName"], params.get("Path", "/"), params["PolicyDocument"], members
        )
        return {"Policy": self._policy(document)}

    def _delete_policy(self, params: dict[str, Any]) -> dict[str, Any]:
        self._identities.delete_policy(params["PolicyArn"])
        return {}

    def _delete(self, kind: Kind, name: str) -> dict[str, Any]:
        self._identities.delete(kind, name)
        return {}

    def _list(
        self, kind: Kind, params: dict[str, Any], member: str, show: Callable[[dict[str, Any]], dict[str, Any]]
    ) -> dict[str, Any]:
        documents = [one for one in self._identities.all(kind) if one["path"].startswith(params.get("PathPrefix", "/"))]
        return page([show(one) for one in documents], params, member)

    def _policy(self, document: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "PolicyName": document["name"],
            "PolicyId": document["id"],
            "Arn": document["arn"],
            "Path": document["path"],
            "DefaultVersionId": "v1",
            "AttachmentCount": self._identities.attachments(document["arn"]),
            "PermissionsBoundaryUsageCount": 0,
            "IsAttachable": True,
            "Description": document["description"],
            "CreateDate": document["created"],
            "UpdateDate": document["created"],
            "Tags": _as_list(document["tags"]),
        }

    def _simulate_principal_policy(self, params: dict[str, Any]) -> dict[str, Any]:
        source = params["PolicySourceArn"]
        kind = check_simulation(params, self._account)
        found = [one for one in self._identities.all(kind) if one["arn"] == source]
        if kind == "group" or not found:
            raise no_such_entity(f"The entity with ARN {source} cannot be found.")
        principal = self._identities.principal_of_arn("role" if kind == "role" else "user", found[0]["name"])
        context = {
            one["ContextKeyName"].lower(): one.get("ContextKeyValues", []) for one in params.get("ContextEntries", [])
        }
        results = []
        for action in params["ActionNames"]:
            for resource in params.get("ResourceArns") or ["*"]:
                decision = self._authorizer.decide(principal, Check(action=action, resource=resource, context=context))
                matched = [
                    {"SourcePolicyId": policy.name, "SourcePolicyType": "IAM Policy"} for policy, _ in decision.matched
                ]
                results.append(
                    {
                        "EvalActionName": action,
                        "EvalResourceName": resource,
                        "EvalDecision": decision.kind,
                        "MatchedStatements": matched,
                        "MissingContextValues": [],
                    }
                )
        return page(results, params, "EvaluationResults")


def _user_name(params: Mapping[str, Any]) -> str:
    """Return the user of a request; the signer of the request if it names none."""
    if "UserName" in params:
        return str(params["UserName"])
    caller = CALLER.get()
    if caller.kind != "User":
        raise ApiError("ValidationError", "Must specify userName when calling with non-User credentials")
    return caller.name


def _user(document: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "Path": document["path"],
        "UserName": document["name"],
        "UserId": document["id"],
        "Arn": document["arn"],
        "CreateDate": document["created"],
        "Tags": _as_list(document["tags"]),
    }


def _role(document: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "Path": document["path"],
        "RoleName": document["name"],
        "RoleId": document["id"],
        "Arn": document["arn"],
        "CreateDate": document["created"],
        "AssumeRolePolicyDocument": quote(json.dumps(json.loads(document["trust"]))),
        "Description": document["description"],
        "MaxSessionDuration": document["seconds"],
        "Tags": _as_list(document["tags"]),
    }


def _key(document: Mapping[str, Any], user: str) -> dict[str, Any]:
    return {
        "UserName": user,
        "AccessKeyId": document["access_key"],
        "Status": "Active",
        "CreateDate": document["created"],
    }


def _tags(params: Mapping[str, Any]) -> dict[str, str]:
    return {one["Key"]: one["Value"] for one in params.get("Tags", [])}


def _as_list(tags: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in tags.items()]
