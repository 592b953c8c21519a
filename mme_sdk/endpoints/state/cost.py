"""Read what an endpoint runs and which models it has, and share the bill."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Literal

from mme_sdk._flows.effects import Call
from mme_sdk._validation import check_number
from mme_sdk.aws import Flow
from mme_sdk.costs import Cost, share_cost
from mme_sdk.endpoints.state.describe import read_live
from mme_sdk.errors import InvalidInputError, MMEError
from mme_sdk.recording import RecordedMinute
from mme_sdk.types.s3uri import S3Uri

__all__ = ["cost"]

_MINUTE = timedelta(minutes=1)


def cost(
    name: str,
    *,
    by: Literal["model", "tenant"],
    hours: float,
    recordings: Iterable[RecordedMinute],
    prices: Mapping[str, float],
    memory_share: float,
    currency: str,
    end: datetime,
) -> Flow[Cost]:
    """Return what each model or tenant of an endpoint costs."""
    check_number("hours", hours, over=0)
    live = (yield from read_live(name)).description
    estimated = ["the instances that run now count for the whole time"]
    if getattr(prices, "indicative", False):
        estimated.append("the prices are the shipped ones, which are examples and not a quotation")
    instances = []
    for variant in live.variants:
        if variant.instance_type is None or variant.instance_count is None:
            raise InvalidInputError(
                f"{name}: the variant {variant.name} has no known instances, so its cost cannot be computed",
                hint="cost() is for variants with instances, not for serverless ones",
                endpoint=name,
            )
        instances.append((variant.instance_type, variant.instance_count))
    start = end - timedelta(hours=hours)
    if live.created is not None and start < live.created < end:
        start = live.created
        estimated.append("the time begins with the creation of the endpoint")
    sizes: dict[str, int] = {}
    if live.mode == "MultiModel" and live.model_data is not None:
        try:
            sizes = yield from _sizes(S3Uri.parse(live.model_data).as_prefix())
        except MMEError as error:
            estimated.append(f"all models count as equally large: S3 cannot be read ({type(error).__name__})")
    return share_cost(
        name,
        instances,
        [one for one in recordings if one.endpoint == name and start - _MINUTE < one.at < end],
        hours=(end - start).total_seconds() / 3600.0,
        prices=prices,
        by=by,
        sizes=sizes,
        memory_share=memory_share,
        currency=currency,
        estimated=tuple(estimated),
    )


def _sizes(prefix: S3Uri) -> Flow[dict[str, int]]:
    """Return the size of each object below a prefix, by target model."""
    found: dict[str, int] = {}
    params = {"Bucket": prefix.bucket, "Prefix": prefix.key}
    while True:
        page = yield Call(service="s3", operation="list_objects_v2", params=params)
        for each in page.get("Contents", ()):
            found[each["Key"].removeprefix(prefix.key)] = each["Size"]
        if not page.get("IsTruncated"):
            return found
        params = params | {"ContinuationToken": page["NextContinuationToken"]}
