"""STS: GetCallerIdentity."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mme_sdk.local.control.account import Account

__all__ = ["Sts"]


class Sts:
    """The `sts` service.

    Args:
        account: The account of every caller.
    """

    service = "sts"

    def __init__(self, account: Account) -> None:
        self._account = account
        self.operations: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
            "GetCallerIdentity": self._get_caller_identity
        }

    def _get_caller_identity(self, _params: dict[str, Any]) -> dict[str, Any]:
        account_id = self._account.account_id
        arn = self._account.arn_of("iam", "root", regional=False)
        return {"UserId": account_id, "Account": account_id, "Arn": arn}
