"""The AWS account and region of the embedded SageMaker."""

from __future__ import annotations

import attrs

__all__ = ["Account"]


@attrs.frozen(kw_only=True)
class Account:
    """An AWS account in a region.

    Attributes:
        account_id: Account id, twelve digits.
        region: Region, such as `us-east-1`.
    """

    account_id: str = "123456789012"
    region: str = "us-east-1"

    def arn(self, kind: str, name: str) -> str:
        """Return the ARN of a SageMaker resource. SageMaker writes the name in lower case.

        Args:
            kind: `endpoint`, `endpoint-config` or `model`.
            name: The resource's name.
        """
        return f"arn:aws:sagemaker:{self.region}:{self.account_id}:{kind}/{name.lower()}"
