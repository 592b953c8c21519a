"""The decision of policies about a request: an explicit deny, an allow, or neither.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import attrs

from mme_sdk.local.control.iam.documents import Policy, Statement
from mme_sdk.local.control.iam.patterns import Context, matches_arn

__all__ = ["Decision", "Principal", "decide", "trusts"]


@attrs.frozen(kw_only=True)
class Principal:
    """Who signed a request.

    Attributes:
        arn: ARN of the root user, the user, or the session of a role.
        user_id: The unique id that GetCallerIdentity returns.
        kind: `Account` (the host's own key), `User` or `AssumedRole`.
        name: Name of the user or role; empty for the account.
        role_arn: ARN of the role of a session, else empty.
        policies: Policies of the user or role.
        session_policy: Policy of the session, which limits the policies of the role; None if the session has none.
        tags: Tags of the user or the role, and those of the session.
    """

    arn: str
    user_id: str
    kind: Literal["Account", "User", "AssumedRole"]
    name: str = ""
    role_arn: str = ""
    policies: tuple[Policy, ...] = ()
    session_policy: Policy | None = None
    tags: Mapping[str, str] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class Decision:
    """The decision about one action on one resource.

    Attributes:
        kind: `allowed`, `explicitDeny` or `implicitDeny`, as SimulatePrincipalPolicy names them.
        policy_type: The type of the policy that denied the request: `identity-based` or `session`.
        matched: The statements that decided, each with its policy.
    """

    kind: Literal["allowed", "explicitDeny", "implicitDeny"]
    policy_type: Literal["identity-based", "session"] = "identity-based"
    matched: tuple[tuple[Policy, Statement], ...] = ()

    def reason(self, action: str) -> str:
        """Return the end of the error message of AWS for a request that is not allowed."""
        if self.kind == "explicitDeny":
            article = "an" if self.policy_type == "identity-based" else "a"
            return f"with an explicit deny in {article} {self.policy_type} policy"
        return f"because no {self.policy_type} policy allows the {action} action"


def decide(principal: Principal, action: str, resource: str, context: Context) -> Decision:
    """Return whether the policies of a principal allow an action on a resource.

    Args:
        principal: Who signed the request. The host's own key may do everything.
        action: Action, such as `sagemaker:InvokeEndpoint`.
        resource: ARN of the resource; `*` for an action without a resource.
        context: Values of the condition keys, with lower-case keys.
    """
    if principal.kind == "Account":
        return Decision(kind="allowed")
    layers: list[tuple[Literal["identity-based", "session"], Sequence[Policy]]] = [
        ("identity-based", principal.policies)
    ]
    if principal.session_policy is not None:
        layers.append(("session", (principal.session_policy,)))
    decisions = [_decide_layer(kind, policies, action, resource, context) for kind, policies in layers]
    for wanted in ("explicitDeny", "implicitDeny"):
        for decision in decisions:
            if decision.kind == wanted:
                return decision
    return decisions[0]


def _decide_layer(
    policy_type: Literal["identity-based", "session"],
    policies: Sequence[Policy],
    action: str,
    resource: str,
    context: Context,
) -> Decision:
    applying = [
        (policy, statement)
        for policy in policies
        for statement in policy.statements
        if statement.applies(action, resource, context)
    ]
    for effect, kind in (("Deny", "explicitDeny"), ("Allow", "allowed")):
        if matched := tuple(pair for pair in applying if pair[1].effect == effect):
            return Decision(kind=kind, policy_type=policy_type, matched=matched)  # type: ignore[arg-type]
    return Decision(kind="implicitDeny", policy_type=policy_type)


def trusts(
    trust: Policy, arns: Sequence[str], context: Context, *, kind: str = "AWS", action: str = "sts:AssumeRole"
) -> bool:
    """Return whether a trust policy lets a principal assume the role.

    Args:
        trust: The trust policy.
        arns: The names by which the policy may name the principal: ARNs and account ids, or a service.
        context: Values of the condition keys.
        kind: `AWS` or `Service`.
        action: `sts:AssumeRole` or `sts:TagSession`.
    """
    effects = {
        statement.effect
        for statement in trust.statements
        if any(
            wanted == "*" or any(_names(wanted, arn) for arn in arns) for wanted in statement.principals.get(kind, ())
        )
        and statement.applies(action, "*", context)
    }
    return effects == {"Allow"}


def _names(wanted: str, arn: str) -> bool:
    # A trust policy has no wildcards inside an ARN, so this compares whole ARNs.
    return wanted == arn or (wanted.startswith("arn:") and "*" not in wanted and matches_arn(wanted, arn))
