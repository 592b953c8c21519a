"""Users, roles, policies and access keys, as documents in the store."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, Literal

from mme_sdk.local.control.account import Account
from mme_sdk.local.control.iam.documents import Policy, parse_identity_policy
from mme_sdk.local.control.iam.evaluation import Principal
from mme_sdk.local.control.store import Store
from mme_sdk.local.credentials import LocalCredentials
from mme_sdk.local.wire.errors import ApiError

__all__ = ["Identities", "Kind", "no_such_entity"]

Kind = Literal["user", "role"]
_LIMIT_OF_KEYS = 2  # of a user, as on AWS
_PREFIXES = {"user": "AIDA", "role": "AROA", "policy": "ANPA"}

_KEYS = "iam-key"


class Identities:
    """The users, roles, policies and access keys of a host.

    Args:
        store: Holds the documents.
        account: The account of the identities.
        owner: The host's own keys, which may do everything.
        now: Function that returns the current time.
    """

    def __init__(self, store: Store, account: Account, owner: LocalCredentials, now: Callable[[], datetime]) -> None:
        self._store = store
        self._account = account
        self._now = now
        self._owner_key = owner.access_key
        self.owner = Principal(
            arn=account.arn_of("iam", "root", regional=False), user_id=account.account_id, kind="Account"
        )
        self._principals: dict[str, Principal] = {}

    def arn(self, kind: str, name: str, path: str = "/") -> str:
        """Return the ARN of a user, role or policy."""
        return self._account.arn_of("iam", f"{kind}{path}{name}", regional=False)

    def find(self, kind: Kind, name: str) -> dict[str, Any]:
        """Return the document of a user or role.

        Raises:
            ApiError: NoSuchEntity.
        """
        found = self._store.get(f"iam-{kind}", name)
        if found is None:
            raise no_such_entity(f"The {kind} with name {name} cannot be found.")
        return found

    def all(self, kind: str) -> list[dict[str, Any]]:
        """Return the documents of all users, roles or policies."""
        return [document for _, document in self._store.all(f"iam-{kind}")]

    def create(self, kind: Kind, name: str, path: str, members: Mapping[str, Any]) -> dict[str, Any]:
        """Store a new user or role, and return its document.

        Raises:
            ApiError: EntityAlreadyExists. The names of users and roles are unique regardless of case.
        """
        if self._store.has_ignoring_case(f"iam-{kind}", name):
            raise ApiError("EntityAlreadyExists", f"{kind.capitalize()} with name {name} already exists.", status=409)
        document = {
            "name": name,
            "path": path,
            "arn": self.arn(kind, name, path),
            "id": f"{_PREFIXES[kind]}{secrets.token_hex(9)[:17].upper()}",
            "created": self._now(),
            "tags": {},
            "inline": {},
            "attached": [],
            **members,
        }
        self.write(kind, document)
        return document

    def write(self, kind: Kind, document: dict[str, Any]) -> None:
        """Store a changed user or role."""
        self._store.put(f"iam-{kind}", document["name"], document)
        self._principals.clear()

    def delete(self, kind: Kind, name: str) -> None:
        """Delete a user or role.

        Raises:
            ApiError: NoSuchEntity, or DeleteConflict: it still has policies or keys.
        """
        document = self.find(kind, name)
        for member, what in (("inline", "policies"), ("attached", "policies")):
            if document[member]:
                must = "detach all" if member == "attached" else "delete"
                raise ApiError("DeleteConflict", f"Cannot delete entity, must {must} {what} first.", status=409)
        if kind == "user" and self.keys_of(name):
            raise ApiError("DeleteConflict", "Cannot delete entity, must delete access keys first.", status=409)
        self._store.delete(f"iam-{kind}", name)
        self._principals.clear()

    def find_policy(self, arn: str) -> dict[str, Any]:
        """Return the document of a managed policy.

        Raises:
            ApiError: NoSuchEntity. The host has no policies that AWS manages.
        """
        found = self._store.get("iam-policy", arn)
        if found is None:
            ours = arn.split(":")[4:5] == [self._account.account_id]
            hint = "" if ours else " This host has no policies that AWS manages; create one with CreatePolicy."
            raise no_such_entity(f"Policy {arn} does not exist or is not attachable.{hint}")
        return found

    def create_policy(self, name: str, path: str, text: str, members: Mapping[str, Any]) -> dict[str, Any]:
        """Store a new managed policy, and return its document.

        Raises:
            ApiError: EntityAlreadyExists.
        """
        arn = self.arn("policy", name, path)
        if any(one["name"].lower() == name.lower() for one in self.all("policy")):
            raise ApiError("EntityAlreadyExists", f"A policy called {name} already exists.", status=409)
        document = {
            "name": name,
            "path": path,
            "arn": arn,
            "id": f"{_PREFIXES['policy']}{hashlib.sha256(arn.encode()).hexdigest()[:17].upper()}",
            "created": self._now(),
            "text": text,
            **members,
        }
        self._store.put("iam-policy", arn, document)
        return document

    def delete_policy(self, arn: str) -> None:
        """Delete a managed policy.

        Raises:
            ApiError: NoSuchEntity, or DeleteConflict: it is attached.
        """
        self.find_policy(arn)
        if self.attachments(arn):
            raise ApiError("DeleteConflict", "Cannot delete a policy attached to entities.", status=409)
        self._store.delete("iam-policy", arn)

    def attachments(self, arn: str) -> int:
        """Return to how many users and roles a managed policy is attached."""
        return sum(arn in one["attached"] for kind in ("user", "role") for one in self.all(kind))

    def keys_of(self, user: str) -> list[dict[str, Any]]:
        """Return the access keys of a user."""
        return [one for one in self.all("key") if one.get("user") == user]

    def create_key(self, user: str) -> dict[str, Any]:
        """Store a new access key of a user, and return its document.

        Raises:
            ApiError: NoSuchEntity, or LimitExceeded: the user has two.
        """
        self.find("user", user)
        if len(self.keys_of(user)) >= _LIMIT_OF_KEYS:
            text = f"Cannot exceed quota for AccessKeysPerUser: {_LIMIT_OF_KEYS}"
            raise ApiError("LimitExceeded", text, status=409)
        return self._new_key("AKIA", {"user": user})

    def delete_key(self, user: str, access_key: str) -> None:
        """Delete an access key of a user.

        Raises:
            ApiError: NoSuchEntity.
        """
        if all(one["access_key"] != access_key for one in self.keys_of(user)):
            raise no_such_entity(f"The Access Key with id {access_key} cannot be found.")
        self._store.delete(_KEYS, access_key)
        self._principals.clear()

    def create_session(
        self, role: str, session: str, seconds: int, tags: Mapping[str, str], policy: str | None
    ) -> dict[str, Any]:
        """Store the temporary key of a role's session, and return its document."""
        for old in self.all("key"):
            if "expires" in old and old["expires"] <= self._now():
                self._store.delete(_KEYS, old["access_key"])
        members = {
            "role": role,
            "session": session,
            "tags": dict(tags),
            "policy": policy,
            "token": secrets.token_urlsafe(48),
            "expires": self._now() + timedelta(seconds=seconds),
        }
        return self._new_key("ASIA", members)

    def _new_key(self, prefix: str, members: Mapping[str, Any]) -> dict[str, Any]:
        document = {
            "access_key": f"{prefix}{secrets.token_hex(8).upper()}",
            "secret": secrets.token_urlsafe(30),
            "created": self._now(),
            **members,
        }
        self._store.put(_KEYS, document["access_key"], document)
        return document

    def find_credentials(self, access_key: str) -> LocalCredentials | None:
        """Return an access key with its secret; None if it does not exist.

        Raises:
            ApiError: ExpiredTokenException. The session of the key has ended.
        """
        found = self._store.get(_KEYS, access_key)
        if found is None:
            return None
        if "expires" in found and found["expires"] <= self._now():
            text = "The security token included in the request is expired"
            raise ApiError("ExpiredTokenException", text, status=403)
        return LocalCredentials(access_key=access_key, secret_key=found["secret"], session_token=found.get("token"))

    def principal(self, access_key: str) -> Principal:
        """Return the principal of a verified access key.

        Raises:
            ApiError: The key, or its user or role, was deleted.
        """
        if access_key == self._owner_key:
            return self.owner
        found = self._principals.get(access_key)
        if found is None:
            key = self._store.get(_KEYS, access_key)
            kind: Kind = "user" if key is not None and "user" in key else "role"
            if key is None or self._store.get(f"iam-{kind}", key[kind]) is None:
                text = "The security token included in the request is invalid."
                raise ApiError("UnrecognizedClientException", text, status=403)
            found = self._principals[access_key] = self._make_principal(kind, key)
        return found

    def principal_of_arn(self, kind: Kind, name: str) -> Principal:
        """Return the principal of a user or role, as SimulatePrincipalPolicy evaluates it.

        Raises:
            ApiError: NoSuchEntity.
        """
        return self._make_principal(kind, {kind: name, "session": name})

    def _make_principal(self, kind: Kind, key: Mapping[str, Any]) -> Principal:
        document = self.find(kind, key[kind])
        policies = tuple(self.policies_of(document))
        if kind == "user":
            return Principal(
                arn=document["arn"],
                user_id=document["id"],
                kind="User",
                name=document["name"],
                policies=policies,
                tags=document["tags"],
            )
        session, text = key["session"], key.get("policy")
        return Principal(
            arn=self._account.arn_of("sts", f"assumed-role/{document['name']}/{session}", regional=False),
            user_id=f"{document['id']}:{session}",
            kind="AssumedRole",
            name=document["name"],
            role_arn=document["arn"],
            policies=policies,
            session_policy=None if text is None else parse_identity_policy("session", text),
            tags={**document["tags"], **key.get("tags", {})},
        )

    def policies_of(self, document: Mapping[str, Any]) -> list[Policy]:
        """Return the inline and the attached policies of a user or role."""
        inline = [parse_identity_policy(name, text) for name, text in document["inline"].items()]
        return inline + [parse_identity_policy(arn, self.find_policy(arn)["text"]) for arn in document["attached"]]


def no_such_entity(text: str) -> ApiError:
    """Return the error NoSuchEntity."""
    return ApiError("NoSuchEntity", text, status=404)
