"""Read what an endpoint runs and which models it has, and share the bill."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Literal

from mme_sdk._flows.effects import Call
from mme_sdk._validation import check_number
from mme_sdk.aws import Flow
from mme_sdk.costs import Cost, share_cost
from mme_sdk.endpoints.state.describe import read_live
from mme_sdk.endpoints.state.description import VariantDescription
from mme_sdk.endpoints.state.observe import MAX_HOURS, period_for
from mme_sdk.errors import InvalidInputError, MMEError
from mme_sdk.metrics.reading import read_series
from mme_sdk.recording import RecordedMinute
from mme_sdk.types.s3uri import S3Uri

__all__ = ["cost", "instance_seconds"]

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
    estimated = []
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
    ran: list[float] | None = None
    if live.modified is None or live.modified > start:  # otherwise the instances of now ran for the whole time
        ran, said = yield from _instance_hours(name, live.variants, start, end)
        estimated += said
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
        instance_hours=ran,
        by=by,
        sizes=sizes,
        memory_share=memory_share,
        currency=currency,
        estimated=tuple(estimated),
    )


def _instance_hours(
    name: str, variants: Sequence[VariantDescription], start: datetime, end: datetime
) -> Flow[tuple[list[float] | None, list[str]]]:
    """Return the hours that the instances of each variant ran, and what is estimated in them.

    SageMaker publishes 1 / (number of instances) as InvocationsPerInstance for each request, so the number of samples
    divided by their sum is the number of instances in a period with requests.
    https://docs.aws.amazon.com/sagemaker/latest/dg/monitoring-cloudwatch.html
    """
    now = "the instances that run now count for the whole time"
    hours = (end - start).total_seconds() / 3600.0
    if hours > MAX_HOURS:
        return None, [f"{now}: CloudWatch keeps no values for longer than 455 days"]
    period = period_for(hours)
    wanted = {}
    for place, variant in enumerate(variants):
        dimensions = [{"Name": "EndpointName", "Value": name}, {"Name": "VariantName", "Value": variant.name}]
        metric = {"Namespace": "AWS/SageMaker", "MetricName": "InvocationsPerInstance", "Dimensions": dimensions}
        for statistic in ("Sum", "SampleCount"):
            wanted[f"v{place}_{statistic}"] = {"Metric": metric, "Period": period, "Stat": statistic}
    try:
        found = yield from read_series(name, wanted, start=start, end=end)
    except MMEError as error:
        return None, [f"{now}: CloudWatch cannot be read ({type(error).__name__})"]
    ran, said = [], {"the instance types that run now count for the whole time"}
    for place, variant in enumerate(variants):
        sums, samples = found[f"v{place}_Sum"], found[f"v{place}_SampleCount"]
        by_time = dict(zip(sums.times, sums.values, strict=True))
        counts = [
            (at, number / by_time[at])
            for at, number in zip(samples.times, samples.values, strict=True)
            if by_time.get(at, 0.0) > 0
        ]
        seconds, gaps = instance_seconds(
            counts, period=period, start=start, end=end, count=float(variant.instance_count or 0)
        )
        ran.append(seconds / 3600.0)
        if not counts:
            said.add(f"{now}: CloudWatch has no requests of variant {variant.name} in that time")
        elif gaps:
            said.add(
                "a time without requests has the instances of the requests before it; at the end, those that run now"
            )
    return ran, sorted(said)


def instance_seconds(
    counts: Sequence[tuple[datetime, float]], *, period: int, start: datetime, end: datetime, count: float
) -> tuple[float, bool]:
    """Return the seconds that instances ran, all together, and whether there are gaps between the known periods.

    Args:
        counts: Start of each known period and number of instances in it, in order of time.
        period: Length of a period in seconds.
        start: Start of the time.
        end: End of the time.
        count: Number of instances at its end; it counts after the last known period.
    """
    total, at, gaps = 0.0, start, False
    current = counts[0][1] if counts else count
    for begin, number in counts:
        known = min(max(begin, start), end)
        gaps = gaps or known > at
        total += current * (known - at).total_seconds()  # until this period begins, the number before it counts
        current, at = number, known
        after = min(begin + timedelta(seconds=period), end)
        if after > at:
            total += current * (after - at).total_seconds()
            at = after
    gaps = gaps or at < end
    return total + count * (end - at).total_seconds(), gaps


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
