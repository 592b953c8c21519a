"""The one account and region that the embedded SageMaker serves."""

from __future__ import annotations

import attrs

__all__ = ["Account"]


@attrs.frozen(kw_only=True)
class Account:
    """An AWS account in a region.

    Attributes:
        account_id: Twelve digits.
        region: Such as `us-east-1`.
    """

    account_id: str = "123456789012"
    region: str = "us-east-1"

    def arn(self, kind: str, name: str) -> str:
        """The ARN of a SageMaker resource; SageMaker writes names in lower case there.

        Args:
            kind: `endpoint`, `endpoint-config` or `model`.
            name: The resource's name.
        """
        return f"arn:aws:sagemaker:{self.region}:{self.account_id}:{kind}/{name.lower()}"
