"""IAM policy documents: parse the JSON text, check its grammar, and match actions and resources.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_grammar.html
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Literal

import attrs

from mme_sdk.local.control.iam.conditions import Context, check_condition, condition_holds
from mme_sdk.local.control.iam.patterns import ResourcePattern, compile_pattern
from mme_sdk.local.wire.errors import ApiError

__all__ = ["Policy", "Statement", "parse_identity_policy", "parse_trust_policy"]

_VERSIONS = ("2012-10-17", "2008-10-17")
_WITH_VARIABLES = _VERSIONS[0]
_ACTION = re.compile(r"\*|[A-Za-z0-9-]+:[A-Za-z0-9*?]+")
_SID = re.compile(r"[A-Za-z0-9]*")
_IDENTITY = frozenset(("Sid", "Effect", "Action", "NotAction", "Resource", "NotResource", "Condition"))
_TRUST = frozenset(("Sid", "Effect", "Principal", "Action", "NotAction", "Condition"))
_PRINCIPALS = frozenset(("AWS", "Service", "Federated", "CanonicalUser"))


@attrs.frozen(kw_only=True)
class Statement:
    """One statement of a policy.

    Attributes:
        effect: `Allow` or `Deny`.
        sid: Sid; empty if the statement has none.
        condition: Condition block: operator, key, values.
        principals: Values of the element Principal by type. Only trust policies have it.
    """

    effect: Literal["Allow", "Deny"]
    sid: str = ""
    condition: Mapping[str, Mapping[str, tuple[str, ...]]] = attrs.field(factory=dict)
    principals: Mapping[str, tuple[str, ...]] = attrs.field(factory=dict)
    _actions: tuple[re.Pattern[str], ...] = attrs.field(alias="actions")
    _except_actions: bool = attrs.field(alias="except_actions")
    _resources: tuple[ResourcePattern, ...] = attrs.field(alias="resources")
    _except_resources: bool = attrs.field(alias="except_resources")
    _variables: bool = attrs.field(alias="variables")

    def applies(self, action: str, resource: str, context: Context) -> bool:
        """Return whether the statement applies to a request. Its effect then counts.

        Args:
            action: Action, such as `sagemaker:InvokeEndpoint`.
            resource: ARN of the resource, or `*`.
            context: Values of the condition keys.
        """
        named = any(one.fullmatch(action.lower()) for one in self._actions)
        if named is self._except_actions:
            return False
        found = any(one.matches(resource, context) for one in self._resources)
        if found is self._except_resources and self._resources:
            return False
        return condition_holds(self.condition, context, variables=self._variables)


@attrs.frozen
class Policy:
    """A policy that is attached to an identity, or the trust policy of a role.

    Attributes:
        name: Name or ARN of the policy.
        statements: Its statements.
    """

    name: str
    statements: tuple[Statement, ...]


def parse_identity_policy(name: str, text: str) -> Policy:
    """Return the policy of a JSON text.

    Args:
        name: Name or ARN of the policy.
        text: The policy document.

    Raises:
        ApiError: MalformedPolicyDocument. The text is not JSON, or not a policy for a user or role.
    """
    version, statements = _read(text)
    return Policy(name, tuple(_statement(one, version, _IDENTITY) for one in statements))


def parse_trust_policy(name: str, text: str) -> Policy:
    """Return the trust policy of a JSON text.

    Args:
        name: Name of the role.
        text: The policy document.

    Raises:
        ApiError: MalformedPolicyDocument. The text is not JSON, or not a trust policy.
    """
    version, statements = _read(text)
    return Policy(name, tuple(_statement(one, version, _TRUST) for one in statements))


def _read(text: str) -> tuple[str, list[Any]]:
    try:
        document = json.loads(text, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise _malformed("This policy contains invalid Json") from error
    if not isinstance(document, dict):
        raise _malformed("Syntax errors in policy.")
    if unknown := document.keys() - {"Version", "Id", "Statement"}:
        raise _malformed(f"Syntax errors in policy: the element {min(unknown)!r} does not exist.")
    version = document.get("Version", _VERSIONS[1])
    if version not in _VERSIONS:
        raise _malformed(f"The policy must contain a valid version string, not {version!r}.")
    statements = document.get("Statement", [])
    statements = statements if isinstance(statements, list) else [statements]
    if not statements or not all(isinstance(one, dict) for one in statements):
        raise _malformed("Syntax errors in policy: Statement must be a statement or a list of statements.")
    sids = [one["Sid"] for one in statements if one.get("Sid")]
    if len(set(map(str, sids))) != len(sids):
        raise _malformed("Statement IDs (SID) in a single policy must be unique.")
    return version, statements


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    read = dict(pairs)
    if len(read) != len(pairs):
        raise ValueError("a name occurs twice")
    return read


def _statement(given: dict[str, Any], version: str, elements: frozenset[str]) -> Statement:
    if "Principal" in given and "Principal" not in elements:
        raise _malformed("Policy document should not specify a principal.")
    if "Principal" in elements and "Principal" not in given:
        raise _malformed("Missing required field Principal")
    if "Resource" not in elements and given.keys() & {"Resource", "NotResource"}:
        raise _malformed("Has prohibited field Resource")
    if unknown := given.keys() - elements:
        raise _malformed(f"Syntax errors in policy: the element {min(unknown)!r} is not supported in a statement.")
    effect = given.get("Effect")
    if effect not in ("Allow", "Deny"):
        raise _malformed(f"Syntax errors in policy: Effect must be Allow or Deny, not {effect!r}.")
    sid = given.get("Sid", "")
    if not isinstance(sid, str) or not _SID.fullmatch(sid):
        raise _malformed(f"Statement IDs (SID) must be alpha-numeric, not {sid!r}.")
    except_actions, actions = _choice(given, "Action", "actions")
    if wrong := [one for one in actions if not _ACTION.fullmatch(one)]:
        raise _malformed(
            f"Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc., not {wrong[0]!r}"
        )
    except_resources, resources = False, tuple[str, ...]()
    if "Resource" in elements:
        except_resources, resources = _choice(given, "Resource", "resources")
        if wrong := [one for one in resources if one != "*" and not one.startswith("arn:")]:
            raise _malformed(f'Resource {wrong[0]} must be in ARN format or "*".')
    variables = version == _WITH_VARIABLES
    return Statement(
        effect=effect,
        sid=sid,
        condition=_condition(given.get("Condition", {})),
        principals=_principals(given["Principal"]) if "Principal" in given else {},
        actions=tuple(compile_pattern(one.lower()) for one in actions),
        except_actions=except_actions,
        resources=tuple(ResourcePattern(one, variables=variables) for one in resources),
        except_resources=except_resources,
        variables=variables,
    )


def _choice(given: dict[str, Any], element: str, what: str) -> tuple[bool, tuple[str, ...]]:
    names = [name for name in (element, f"Not{element}") if name in given]
    if len(names) != 1:
        raise _malformed(f"Policy statement must contain {what}: exactly one of {element} and Not{element}.")
    return names[0] != element, _strings(given[names[0]], names[0])


def _strings(given: Any, where: str) -> tuple[str, ...]:
    values = given if isinstance(given, list) else [given]
    if not values or not all(isinstance(one, str) for one in values):
        raise _malformed(f"Syntax errors in policy: {where} must be a string or a list of strings.")
    return tuple(values)


def _principals(given: Any) -> dict[str, tuple[str, ...]]:
    if given == "*":
        return {"AWS": ("*",)}
    if not isinstance(given, dict) or not given or given.keys() - _PRINCIPALS:
        raise _malformed(f"Invalid principal in policy: {given!r}")
    return {kind: _strings(values, f"Principal {kind}") for kind, values in given.items()}


def _condition(given: Any) -> dict[str, dict[str, tuple[str, ...]]]:
    if not isinstance(given, dict) or not all(isinstance(one, dict) for one in given.values()):
        raise _malformed("Syntax errors in policy: Condition must be an object of objects.")
    read: dict[str, dict[str, tuple[str, ...]]] = {}
    for operator, keys in given.items():
        read[operator] = {}
        for key, values in keys.items():
            listed = values if isinstance(values, list) else [values]
            if not listed or not all(isinstance(one, str | int | float) for one in listed):
                raise _malformed(f"Syntax errors in policy: {operator} {key} must have strings, numbers or booleans.")
            read[operator][key] = tuple(json.dumps(one) if not isinstance(one, str) else one for one in listed)
        reason = check_condition(operator, read[operator])
        if reason is not None:
            raise _malformed(reason)
    return read


def _malformed(text: str) -> ApiError:
    return ApiError("MalformedPolicyDocument", text)
