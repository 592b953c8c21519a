"""The AWS account and region of the embedded SageMaker."""

from __future__ import annotations

import attrs

from mme_sdk.local.wire.service_model import partition_of

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
        return self.arn_of("sagemaker", f"{kind}/{name.lower()}")

    def arn_of(self, service: str, resource: str, *, regional: bool = True) -> str:
        """Return the ARN of a resource of any service, in the partition of the region.

        Args:
            service: Service prefix, such as `logs`.
            resource: Resource type and name.
            regional: Whether the ARN has a region. Those of IAM do not.
        """
        region = self.region if regional else ""
        return f"arn:{partition_of(self.region)}:{service}:{region}:{self.account_id}:{resource}"
