"""The handle of one endpoint: what an application holds and calls."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any, TypeVar, Unpack, overload

from mme_sdk.aws import Flow
from mme_sdk.endpoints import check, flows
from mme_sdk.endpoints.calls import Now
from mme_sdk.endpoints.creating import Creation
from mme_sdk.endpoints.deleting import Deletion
from mme_sdk.endpoints.deployment import Deployment
from mme_sdk.endpoints.description import EndpointDescription
from mme_sdk.endpoints.spec import Autoscaling, EndpointSpec, check_spec
from mme_sdk.endpoints.waiting import ProgressCallback
from mme_sdk.errors import InvalidInputError
from mme_sdk.protocols import InvokeOptions, ItemOutcome, WarmUp
from mme_sdk.shapes import ModelVersion, Reply

if TYPE_CHECKING:
    import pandas as pd

    from mme_sdk.endpoints.rooms import Endpoints
    from mme_sdk.metrics import EndpointMetrics
    from mme_sdk.runtime import QueuedInvocation, ReplyStream

__all__ = ["Endpoint", "Handle"]

T = TypeVar("T")


class Handle:
    """What both handles know without a call; nothing changes after it is set, but the last description."""

    __slots__ = ("_creation", "_seen", "name")

    def __init__(self, name: str, *, seen: EndpointDescription | None = None, creation: Creation | None = None) -> None:
        self.name = name
        self._seen = seen
        self._creation = creation

    @property
    def prefix(self) -> str | None:
        """The S3 prefix of a multi-model endpoint, where it is known already."""
        known = self._seen if self._creation is None else self._creation.spec
        if known is None or known.mode != "MultiModel" or known.model_data is None:
            return None
        return known.model_data if known.model_data.startswith("s3://") else check.s3_form(known.model_data)

    def _facts(self) -> dict[str, str]:
        """Six facts, as far as they are known: name, status, mode, models, instances, configuration."""
        seen, creation = self._seen, self._creation
        facts = {"name": self.name, "status": "?", "mode": "?", "models": "?", "instances": "?", "config": "?"}
        if creation is not None:
            spec = creation.spec
            facts |= {
                "status": "Creating",
                "mode": spec.mode,
                "models": spec.model_data or "none",
                "instances": ", ".join(
                    f"{one.instance_count} x {one.instance_type}" if one.instance_type else "serverless"
                    for one in spec.variants
                ),
                "config": spec.to_requests().config_name,
            }
        if seen is not None:
            facts["status"] = seen.status
            facts["config"] = seen.config_name or facts["config"]
            facts["mode"] = seen.mode or facts["mode"]
            facts["models"] = seen.model_data or facts["models"]
            if any(one.instance_type for one in seen.variants):
                facts["instances"] = ", ".join(
                    f"{one.instance_count} x {one.instance_type or 'serverless'}" for one in seen.variants
                )
        return facts

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{key}={value!r}' for key, value in self._facts().items())})"

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><th style='text-align:left'>{escape(key)}</th><td>{escape(value)}</td></tr>"
            for key, value in self._facts().items()
        )
        return f"<table>{rows}</table>"

    def _check_own(self, spec: EndpointSpec) -> None:
        check_spec(spec)
        if spec.name != self.name:
            raise InvalidInputError(
                f"name: the spec is of endpoint {spec.name}, this handle of {self.name}", endpoint=self.name
            )


class Endpoint(Handle):
    """An endpoint: cheap to make, to copy and to share between threads; making one calls nothing.

    Attributes:
        name: EndpointName.

    Example:
        ```python
        endpoint = client.endpoint("scoring")
        reply = endpoint.invoke({"amount": 12.5}, model="fraud/v3.tar.gz", deadline=30)
        ```
    """

    __slots__ = ("_endpoints",)

    def __init__(
        self,
        endpoints: Endpoints,
        name: str,
        *,
        seen: EndpointDescription | None = None,
        creation: Creation | None = None,
    ) -> None:
        super().__init__(name, seen=seen, creation=creation)
        self._endpoints = endpoints

    @overload
    def invoke(
        self,
        data: Any,
        *,
        model: str | ModelVersion | None = None,
        response_type: type[T],
        **options: Unpack[InvokeOptions],
    ) -> Reply[T]: ...

    @overload
    def invoke(
        self,
        data: Any,
        *,
        model: str | ModelVersion | None = None,
        response_type: None = None,
        **options: Unpack[InvokeOptions],
    ) -> Reply[Any]: ...

    def invoke(
        self,
        data: Any,
        *,
        model: str | ModelVersion | None = None,
        response_type: type[Any] | None = None,
        **options: Unpack[InvokeOptions],
    ) -> Reply[Any]:
        """Invoke a model.

        Args:
            data: The payload.
            model: Target model of a multi-model endpoint.
            response_type: What to decode the answer to, into the reply's `value`.
            **options: Those of `Invoker.invoke`: content_type, accept, deadline, target_variant, inference_id,
                custom_attributes, idempotent.

        Returns:
            The answer.

        Raises:
            MMEError: No answer; the kind says why.
        """
        return self._endpoints.invoker.invoke(
            self.name, data, model=model, response_type=response_type, prefix=self.prefix, **options
        )

    def invoke_many(
        self,
        items: Iterable[T],
        *,
        model_of: Callable[[T], str | ModelVersion | None] = lambda _: None,
        data_of: Callable[[T], Any] | None = None,
        **options: Any,
    ) -> Iterator[ItemOutcome[T]]:
        """Invoke for each item of any iterable, even an endless one; models are worked on together, and take turns.

        Args:
            items: The payloads; read only as far as there is room for them.
            model_of: The target model of an item.
            data_of: The payload of an item; the item itself where None.
            **options: `settings`, `checkpoint`, `progress`, and those of `invoke`; `deadline` is that of each item.

        Yields:
            One result an item, with its `reply` or its `error`.
        """
        many = self._endpoints.invoker.invoke_many
        return many(self.name, items, model_of=model_of, data_of=data_of, prefix=self.prefix, **options)

    def invoke_frame(
        self,
        frame: pd.DataFrame,
        *,
        model_of: str | Callable[[Any], str | ModelVersion | None] | None = None,
        **options: Any,
    ) -> pd.DataFrame:
        """Invoke with the rows of a data frame, grouped by model.

        Args:
            frame: The rows.
            model_of: Column that names the target model, and is not sent; or a function of a row; None on a
                single-model endpoint.
            **options: `rows_per_call` (256), `content_type` (CSV, JSON or Parquet), and those of `invoke_many`.

        Returns:
            One row a row, with the same index: the answer's columns, or `prediction`; and `error`, None where there is
            an answer.

        Raises:
            InvalidInputError: No such column.
            UndecodableReplyError: An answer has not one row for each row that was sent.
        """
        invoke_frame = self._endpoints.invoker.invoke_frame
        return invoke_frame(self.name, frame, model_of=model_of, prefix=self.prefix, **options)

    def warm(
        self,
        models: Iterable[str | ModelVersion],
        *,
        expected: Mapping[str, float] | None = None,
        **options: Any,
    ) -> WarmUp:
        """Load models before they are called, those first that save most waiting for their size.

        Args:
            models: The models.
            expected: Calls per second by model name or target model; all alike where None.
            **options: `capacity`, `at_a_time`, `payload`, `content_type`, `progress`, and those of `invoke`.

        Returns:
            What was loaded, how long it took, what failed and what did not fit.
        """
        return self._endpoints.invoker.warm(self.name, models, expected=expected, prefix=self.prefix, **options)

    def keep_warm(
        self,
        models: Sequence[str],
        *,
        rates: Mapping[str, float],
        sizes: Mapping[str, int],
        capacity: int,
        bound_by_slo: bool = False,
        **options: Any,
    ) -> WarmUp:
        """Call models once so that they stay in memory; to be done again and again by a scheduler of yours.

        Args:
            models: The models to keep, by target model.
            rates: Calls per second of each model of the endpoint, by target model.
            sizes: Bytes of each in memory.
            capacity: Bytes of models that an instance's memory holds.
            bound_by_slo: Do it for these models' sake, even where more calls of others become cold.
            **options: Those of `warm`, but `capacity`.

        Returns:
            What was loaded, how long it took and what failed.

        Raises:
            InvalidInputError: It is a net loss; the message says by how much.
        """
        return self._endpoints.invoker.keep_warm(
            self.name,
            models,
            rates=rates,
            sizes=sizes,
            capacity=capacity,
            bound_by_slo=bound_by_slo,
            prefix=self.prefix,
            **options,
        )

    def invoke_stream(self, data: Any, **options: Any) -> ReplyStream:
        """Invoke a single-model endpoint and read the answer while the model writes it.

        Args:
            data: The payload.
            **options: `content_type`, `accept`, `target_variant`, `inference_id`, `custom_attributes`.

        Returns:
            The stream, to be used in a `with` block.

        Raises:
            InvalidInputError: Refused; multi-model endpoints cannot stream.
        """
        stream: ReplyStream = self._endpoints.invoker.invoke_stream(self.name, data, **options)
        return stream

    def invoke_async(self, data: Any, *, upload_to: str | None = None, **options: Any) -> QueuedInvocation:
        """Submit an asynchronous inference to a single-model endpoint that was made for it.

        Args:
            data: The payload, or the `s3://` address of one that is there already.
            upload_to: S3 prefix for the payload.
            **options: `content_type`, `accept`, `inference_id`, `custom_attributes`, and `time_to_live` and
                `invocation_timeout` in seconds.

        Returns:
            What was submitted; its `result()` waits for the answer.

        Raises:
            InvalidInputError: Refused, or no place for the payload.
        """
        invoker = self._endpoints.invoker
        queued: QueuedInvocation = invoker.invoke_async(self.name, data, upload_to=upload_to, **options)
        return queued

    def metrics(self, *, hours: float = 24.0, variant: str = "AllTraffic", period: int = 60) -> EndpointMetrics:
        """What CloudWatch knows of this endpoint, as typed series.

        Args:
            hours: How far back.
            variant: Production variant.
            period: Seconds that a point stands for, a multiple of 60.

        Returns:
            The series; empty where nothing was measured.

        Raises:
            InvalidInputError: More points than CloudWatch gives at a time.
        """
        series: EndpointMetrics = self._endpoints.metrics(self.name, hours=hours, variant=variant, period=period)
        return series

    def describe(self) -> EndpointDescription:
        """Read the endpoint, its configuration, models, autoscaling and tags.

        Raises:
            EndpointNotFoundError: It is not there.
        """
        self._seen = self._endpoints.describe(self.name)
        return self._seen

    def wait(self, timeout: float = 1800, *, progress: ProgressCallback | bool = False) -> Endpoint:
        """Wait until it is in service; after `create`, this also attaches autoscaling, or cleans up a failure.

        Args:
            timeout: Seconds to wait at most.
            progress: Called at every look, or True for a progress bar.

        Returns:
            The handle, with what was seen.

        Raises:
            EndpointFailedError: It failed; says why. What its creation had made is removed.
            WaitTimeoutError: The time is over; carries the statuses seen.
        """
        return self._run(flows.wait(self.name, self._creation, timeout=timeout, now=self._now, progress=progress))

    def update(
        self,
        spec: EndpointSpec,
        *,
        deployment: Deployment | None = None,
        timeout: float = 3600,
        progress: ProgressCallback | bool = False,
    ) -> Endpoint:
        """Change it to match a spec of the same name, and wait until it does; see `Endpoints.apply`.

        Raises:
            EndpointNotFoundError: It is not there.
            InvalidInputError: The spec is of another endpoint.
        """
        self._check_own(spec)
        return self._run(
            flows.apply(spec, deployment=deployment, timeout=timeout, now=self._now, progress=progress, must_exist=True)
        )

    def rollback(
        self,
        to: str | None = None,
        *,
        deployment: Deployment | None = None,
        timeout: float = 3600,
        progress: ProgressCallback | bool = False,
    ) -> Endpoint:
        """Go back to the configuration that the last update replaced; doing so twice comes forward again.

        Args:
            to: Name of another endpoint configuration to go to.
            deployment: How traffic moves; chosen as for `apply` where None.
            timeout: Seconds to wait at most.
            progress: Called at every look, or True for a progress bar.

        Returns:
            The handle.

        Raises:
            ConflictError: There is nothing to go back to, or the endpoint is busy.
            EndpointFailedError: It did not come up.
        """
        return self._run(
            flows.rollback(self.name, to=to, deployment=deployment, timeout=timeout, now=self._now, progress=progress)
        )

    def scale(
        self,
        count: int,
        *,
        variant: str | None = None,
        timeout: float = 1800,
        progress: ProgressCallback | bool = False,
    ) -> Endpoint:
        """Set the instance count, and wait until the instances are there.

        Args:
            count: Instances, 1 or more.
            variant: Which variant; the only one where None.
            timeout: Seconds to wait at most.
            progress: Called at every look, or True for a progress bar.

        Returns:
            The handle.

        Raises:
            InvalidInputError: No such variant, or a count outside autoscaling's limits.
            ConflictError: The endpoint is busy with another change.
        """
        return self._run(
            flows.scale(self.name, count, variant=variant, timeout=timeout, now=self._now, progress=progress)
        )

    def weights(
        self, weights: Mapping[str, float], *, timeout: float = 1800, progress: ProgressCallback | bool = False
    ) -> Endpoint:
        """Set the variants' shares of the traffic, and wait until they hold.

        Args:
            weights: Weight by variant, relative to each other.
            timeout: Seconds to wait at most.
            progress: Called at every look, or True for a progress bar.

        Returns:
            The handle.

        Raises:
            InvalidInputError: No such variant, or a weight below zero.
        """
        return self._run(flows.reweigh(self.name, weights, timeout=timeout, now=self._now, progress=progress))

    def autoscale(self, wanted: Autoscaling | None, *, variant: str | None = None) -> Endpoint:
        """Attach autoscaling in place of what was there; None takes it off.

        Args:
            wanted: The settings.
            variant: Which variant; the only one where None.

        Returns:
            The handle; `describe()` shows what is attached.

        Raises:
            InvalidInputError: No such variant, or a serverless one.
        """
        return self._run(flows.autoscale(self.name, wanted, variant=variant))

    def delete(self, *, dry_run: bool = False, timeout: float = 900) -> Deletion:
        """Delete it and everything that belongs to it; see `Endpoints.delete`."""
        return self._endpoints.delete(self.name, dry_run=dry_run, timeout=timeout)

    @property
    def _now(self) -> Now:
        return self._endpoints.aws.clock.monotonic

    def _run(self, flow: Flow[EndpointDescription]) -> Endpoint:
        return Endpoint(self._endpoints, self.name, seen=self._endpoints.aws.run(flow))
