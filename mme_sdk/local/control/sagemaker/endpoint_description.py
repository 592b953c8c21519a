"""Parts of the response of DescribeEndpoint."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from mme_sdk.local.control.sagemaker.rules import captures_data, containers_of

__all__ = ["capture_summary", "variant_summaries"]


def capture_summary(config: dict[str, Any]) -> dict[str, Any] | None:
    """Return the DataCaptureConfig of DescribeEndpoint; None if the configuration has none."""
    given = config.get("DataCaptureConfig")
    if given is None:
        return None
    enabled = captures_data(config)
    return {
        "EnableCapture": enabled,
        "CaptureStatus": "Started" if enabled else "Stopped",
        "CurrentSamplingPercentage": given["InitialSamplingPercentage"],
        "DestinationS3Uri": given["DestinationS3Uri"],
        "KmsKeyId": given.get("KmsKeyId", ""),
    }


def variant_summaries(shown: dict[str, Any], status: str | None, since: datetime) -> list[dict[str, Any]]:
    """Return the ProductionVariants of DescribeEndpoint.

    Args:
        shown: Configuration, models and sizes that run or that are being deployed.
        status: VariantStatus of every variant; None if nothing happens to them. `Updating` concerns those variants
            only whose number of instances or weight changes.
        since: StartTime of the status.
    """
    return [_summary(variant, shown, status, since) for variant in shown["Config"]["ProductionVariants"]]


def _summary(variant: dict[str, Any], shown: dict[str, Any], status: str | None, since: datetime) -> dict[str, Any]:
    size = shown["Sizes"][variant["VariantName"]]
    if "ServerlessConfig" in variant:  # it runs as one instance, which AWS does not return
        config = variant["ServerlessConfig"]
        weights = {key: size[key] for key in ("CurrentWeight", "DesiredWeight") if key in size}
        size = weights | {
            "CurrentInstanceCount": 0,
            "CurrentServerlessConfig": config,
            "DesiredServerlessConfig": config,
        }
    changes = status != "Updating" or any(
        size.get(f"Current{member}") != size.get(f"Desired{member}") for member in ("InstanceCount", "Weight")
    )
    images = [one["Image"] for one in containers_of(shown["Models"][variant["ModelName"]]) if "Image" in one]
    return {
        "VariantName": variant["VariantName"],
        "DeployedImages": [{"SpecifiedImage": image, "ResolvedImage": image} for image in images],
        **size,
        **({"VariantStatus": [{"Status": status, "StartTime": since}]} if status is not None and changes else {}),
    }
