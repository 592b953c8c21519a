# Generated from async_routed_invoker.py by scripts/unasync.py. Change that file, then run `make facades`.
"""`RoutedInvoker`: an invoker that sends each call to a cell, and to another one if that cell fails."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from mme_sdk._validation import as_float, check_number
from mme_sdk.errors import DeadlineError, InvalidInputError, MMEError, TransportError
from mme_sdk.registry._registry_base import result
from mme_sdk.router.routing import Link, Routing, after_failures, attempts_of, check_session, later
from mme_sdk.runtime.invoker import RuntimeInvoker
from mme_sdk.runtime.options import DEFAULT_ASYNC_INFERENCE_OPTIONS, DEFAULT_OPTIONS, InvokeOptions, check_options
from mme_sdk.runtime.retry.answers import may_run_elsewhere

if TYPE_CHECKING:
    from mme_sdk.display.progress import ProgressOption
    from mme_sdk.runtime.batch.warm import WarmOutcome, WarmReport
    from mme_sdk.runtime.options import AsyncInferenceOptions
    from mme_sdk.runtime.single_model.queued_invocation import QueuedInvocation
    from mme_sdk.runtime.single_model.stream import ReplyStream
    from mme_sdk.types.model import ModelVersion
    from mme_sdk.types.reply import Reply

__all__ = ["RoutedInvoker"]

T = TypeVar("T")
_Links = Link[RuntimeInvoker]


class RoutedInvoker(RuntimeInvoker):
    """Invoker of a router. Its methods take the name of the router in place of the endpoint.

    The invokers of the cells make the calls, with their own retries, cold starts and memory.

    Args:
        invoker: Invoker of the client of the router, whose settings apply to all cells.
        routing: Chooses the cells.
    """

    def __init__(self, invoker: RuntimeInvoker, routing: Routing[RuntimeInvoker]) -> None:
        settings = invoker._settings
        super().__init__(
            invoker._aws,
            invoker._transport,
            timeouts=settings.timeouts,
            retry=settings.retry,
            clock=settings.clock,  # type: ignore[arg-type]
            codecs=invoker._codecs,
            memory=invoker.memory,
            owns_transport=False,
        )
        self.routing = routing
        self._monotonic = settings.clock.monotonic

    def invoke(
        self,
        endpoint: str,
        data: Any,
        model: str | ModelVersion | None = None,
        options: InvokeOptions = DEFAULT_OPTIONS,
    ) -> Reply[Any]:
        """Invoke a model in its cell and return its answer; see `RuntimeInvoker.invoke`.

        Args:
            endpoint: Name of the router.
            data: The payload.
            model: The model.
            options: Options of the call.

        Returns:
            The answer.
        """
        routing = self.routing
        links = routing.quick.get(model) if type(model) is str or model is None else None
        by_id = options.session_id is not None or options.prefix_aware_id is not None
        if links is None or by_id or self._monotonic() >= routing.routes.look_at:
            return self._routed(endpoint, data, model, options)
        link = links[0] if len(links) == 1 else links[int(routing.draw() * len(links))]
        began = self._monotonic()
        try:
            reply: Reply[Any] = link.call(link.endpoint, data, model, options)
        except MMEError as error:
            failed = link, error
        else:
            return reply
        return self._routed(endpoint, data, model, options, failed=failed, began=began)

    def _invoke_item(
        self, endpoint: str, data: Any, model: str | ModelVersion | None, options: InvokeOptions
    ) -> Reply[Any]:
        return self._routed(endpoint, data, model, options, patient=True)

    def _routed(
        self,
        endpoint: str,
        data: Any,
        model: str | ModelVersion | None,
        options: InvokeOptions,
        *,
        failed: tuple[_Links, MMEError] | None = None,
        began: float | None = None,
        patient: bool = False,
    ) -> Reply[Any]:
        def send(link: _Links, left: InvokeOptions) -> Reply[Any]:
            pace = link.memory.endpoint(link.endpoint).pace if patient else None
            reply: Reply[Any] = link.call(link.endpoint, data, link.model(model), left, pace)
            return reply

        reply, failures, waited = self._through(endpoint, model, options, send, failed=failed, began=began)
        return after_failures(reply, failures, waited) if failures else reply

    def _through(
        self,
        router: str,
        model: str | ModelVersion | None,
        options: InvokeOptions,
        send: Callable[[_Links, InvokeOptions], T],
        *,
        failed: tuple[_Links, MMEError] | None = None,
        began: float | None = None,
    ) -> tuple[T, list[MMEError], float]:
        """Send a call to its cells, one after the other, until one answers or the deadline has passed.

        Returns:
            The answer, the errors of the cells before, and the seconds until the last cell was called.
        """
        check_session(router, options.session_id)
        began = self._monotonic() if began is None else began
        failures: list[MMEError] = []
        if failed is None:
            self.look()
        key, links = self.routing.links(model, options)
        tried: set[str] = set()
        if failed is not None:
            self._move(failed[0], key, failed[1], options, failures)
            tried.add(failed[0].name)
        for link in links:
            if link.name in tried:
                continue
            tried.add(link.name)
            waited, left = 0.0, options
            if failures:
                waited = self._monotonic() - began
                whole = self._settings.timeouts.deadline if options.deadline is None else as_float(options.deadline)
                if whole - waited <= 0:
                    break
                left = options._replace(deadline=whole - waited)
            try:
                answer = send(link, left)
            except MMEError as error:
                error.attempt_history = later(error.attempt_history, waited)
                self._move(link, key, error, options, failures)
                continue
            self.routing.answered(link, key)
            return answer, failures, waited
        first = failures[0]
        first.attempt_history = attempts_of(failures)
        if len(failures) > 1:
            others = ", ".join(f"{type(error).__name__} at {error.endpoint}" for error in failures[1:])
            hint = f"other cells of the router {router} failed too: {others}"
            first.hint = hint if first.hint is None else f"{first.hint}; {hint}"
        raise first

    def _move(self, link: _Links, key: str, error: MMEError, options: InvokeOptions, failures: list[MMEError]) -> None:
        """Record the error of a cell. Raise it if no other cell may get the call."""
        if not may_run_elsewhere(error, idempotent=options.idempotent):
            if error.sent and not isinstance(error, (DeadlineError, TransportError)):
                self.routing.answered(link, key)
            error.attempt_history = (*attempts_of(failures), *error.attempt_history)
            raise error
        self.routing.failed(link, key, error)
        failures.append(error)

    def look(self) -> None:
        """Read the route table if it is too old, and in the background if it will be soon."""
        routes = self.routing.routes
        due = routes.due()
        if due is None:
            return
        reading, mine = routes.claim()
        if not mine:
            if due == "now":
                result(reading)
            return

        def read() -> None:
            try:
                self._aws.run(routes.load(reading))
            finally:
                routes.release(reading)

        try:
            if due == "now":
                self._aws.run(routes.load(reading))
            else:
                self._aws.submit(read)
        except BaseException:
            routes.release(reading)  # a client that was closed does not begin to read
            raise

    def invoke_stream(self, endpoint: str, data: Any, options: InvokeOptions = DEFAULT_OPTIONS) -> ReplyStream:
        """Open a stream in a cell; see `Endpoint.invoke_stream`. A stream that has begun stays in its cell.

        Args:
            endpoint: Name of the router.
            data: The payload.
            options: Options of the call.

        Returns:
            The stream.
        """

        def send(link: _Links, left: InvokeOptions) -> ReplyStream:
            # A stream has no deadline of its own.
            return link.invoker.invoke_stream(link.endpoint, data, left._replace(deadline=None))

        stream, _, _ = self._through(endpoint, None, options, send)
        return stream

    def invoke_async(
        self,
        endpoint: str,
        data: Any,
        options: InvokeOptions = DEFAULT_OPTIONS,
        queue_options: AsyncInferenceOptions = DEFAULT_ASYNC_INFERENCE_OPTIONS,
    ) -> QueuedInvocation:
        """Submit an asynchronous inference to a cell; see `Endpoint.invoke_async`.

        Args:
            endpoint: Name of the router.
            data: The payload.
            options: Options of the call.
            queue_options: Options of the queue.

        Returns:
            The submitted request.
        """

        def send(link: _Links, left: InvokeOptions) -> QueuedInvocation:
            return link.invoker.invoke_async(link.endpoint, data, left._replace(deadline=None), queue_options)

        queued, _, _ = self._through(endpoint, None, options, send)
        return queued

    def warm(
        self,
        endpoint: str,
        models: Iterable[str | ModelVersion],
        options: InvokeOptions = DEFAULT_OPTIONS,
        *,
        expected: Mapping[str, float] | None = None,
        capacity: int | None = None,
        at_a_time: int | None = None,
        payload: Any = None,
        progress: ProgressOption = False,
    ) -> WarmReport:
        """Load models in their cells before they are called; see `Endpoint.warm`.

        Args:
            endpoint: Name of the router.
            models: The models.
            options: Options of each call.
            expected: Calls per second of these models. None: all are equal.
            capacity: Bytes of models that a cell holds in memory. None means no limit.
            at_a_time: Models that are loaded at the same time in each cell. None means what each client has learned.
            payload: The payload that is sent to each model.
            progress: Called with an `mme_sdk.Progress` after each model.

        Returns:
            The state of each model in each of its cells.
        """
        from mme_sdk.runtime.batch.mixin import _NOT_FOR_WARM
        from mme_sdk.runtime.batch.warm import warm_order
        from mme_sdk.runtime.options import check_unsupported

        check_unsupported("warm", options, _NOT_FOR_WARM)
        self.look()
        if not isinstance(models, Iterable):
            raise InvalidInputError(f"models must be a list of models, not {models!r:.80}")
        # It refuses what is invalid, also a name in `expected` that is not one of the models.
        chosen, left_out = warm_order(models, endpoint=endpoint, memory=self.memory, expected=expected)
        pairs = self.routing.by_cell([*chosen, *left_out])
        return self.warm_in(
            endpoint, pairs, options, expected=expected, capacity=capacity, at_a_time=at_a_time, payload=payload,
            progress=progress,
        )  # fmt: skip

    def warm_in(
        self,
        router: str,
        pairs: Sequence[tuple[_Links, Any]],
        options: InvokeOptions = DEFAULT_OPTIONS,
        *,
        expected: Mapping[str, float] | None = None,
        capacity: int | None = None,
        at_a_time: int | None = None,
        payload: Any = None,
        progress: ProgressOption = False,
    ) -> WarmReport:
        """Load models in the given cells, those first that save the most waiting time for their size.

        Args:
            router: Name of the router.
            pairs: A cell and a model of it.
            options: Options of each call.
            expected: Calls per second of these models. None: all are equal.
            capacity: Bytes of models that a cell holds in memory. None means no limit.
            at_a_time: Models that are loaded at the same time in each cell. None means what each client has learned.
            payload: The payload that is sent to each model.
            progress: Called with an `mme_sdk.Progress` after each model.

        Returns:
            The state of each model in each of its cells.
        """
        from mme_sdk.display.progress import reporting
        from mme_sdk.runtime.batch.batch import BatchSettings
        from mme_sdk.runtime.batch.driver import run_batch
        from mme_sdk.runtime.batch.warm import (
            WarmReport,
            check_capacity,
            outcome_of,
            probe_of,
            report_of,
            warm_order,
            warm_settings,
        )
        from mme_sdk.runtime.payloads.codecs import JSON

        if options.content_type is None:
            options = options._replace(content_type=JSON)
        check_options(options)
        if capacity is not None:
            check_capacity(capacity)
        if at_a_time is not None:
            check_number("at_a_time", at_a_time, at_least=1, integer=True)
        cells: dict[str, tuple[_Links, list[Any]]] = {}
        for link, model in pairs:
            cells.setdefault(link.name, (link, []))[1].append(model)
        queues: list[list[tuple[_Links, Any]]] = []
        outcomes: list[WarmOutcome] = []
        width = 0
        for link, models in cells.values():
            names = {one for model in models for one in (str(model), getattr(model, "name", str(model)))}
            rates = None if expected is None else {name: rate for name, rate in expected.items() if name in names}
            chosen, left_out = warm_order(
                models, endpoint=link.endpoint, memory=link.memory, expected=rates, capacity=capacity
            )
            width += warm_settings(at_a_time, link.memory, link.endpoint).max_concurrency
            queues.append([(link, model) for model in chosen])
            outcomes.extend(report_of([], left_out).outcomes)
        items = [
            queue[place] for place in range(max(map(len, queues), default=0)) for queue in queues if place < len(queue)
        ]

        def call(item: tuple[_Links, Any], _: object) -> Reply[Any]:
            link, model = item
            data = probe_of(model) if payload is None else payload
            reply: Reply[Any] = link.call(link.endpoint, data, link.model(model), options)
            self.routing.answered(link, self.routing.key(model))
            return reply

        results = run_batch(
            call,
            items,
            model_of=lambda item: f"{item[0].name} {item[1]}",
            settings=BatchSettings(max_concurrency=max(width, 1), models_at_once=max(width, 1), ordered=False),
            reports=reporting(
                progress, "warm", router, unit="request", total=len(items),
                now=self._monotonic,
            ),
        )  # fmt: skip
        called = [outcome_of(one.item[1], one.reply, one.error) for one in results]
        return WarmReport((*called, *outcomes))

    def keep_warm(
        self,
        endpoint: str,
        models: Sequence[str],
        options: InvokeOptions = DEFAULT_OPTIONS,
        *,
        rates: Mapping[str, float],
        sizes: Mapping[str, int],
        capacity: int,
        bound_by_slo: bool = False,
        at_a_time: int | None = None,
        payload: Any = None,
        progress: ProgressOption = False,
    ) -> WarmReport:
        """Call models in their cells so that they stay in memory, if that pays in each cell; see `Endpoint`.

        Args:
            endpoint: Name of the router.
            models: The models to keep in memory, by target model.
            options: Options of each call.
            rates: Calls per second of each model.
            sizes: Bytes of each model in memory.
            capacity: Bytes of models that a cell holds in memory.
            bound_by_slo: Whether to call them even if that makes more calls of other models cold.
            at_a_time: Models that are loaded at the same time in each cell.
            payload: The payload that is sent to each model.
            progress: Called with an `mme_sdk.Progress` after each model.

        Returns:
            The state of each model in each of its cells.
        """
        from mme_sdk.runtime.batch.warm import check_capacity, keep_warm_advice, refuse_loss

        check_capacity(capacity)
        self.look()
        if not bound_by_slo:
            shares: dict[str, dict[str, float]] = {}
            for model, rate in rates.items():
                check_number(f"the rate of {model}", rate, at_least=0)
                homes = self.routing.placed(self.routing.key(model)).homes
                for home in homes:
                    shares.setdefault(home, {})[model] = as_float(rate) / len(homes)
            for own in shares.values():
                kept = [model for model in models if model in own]
                if kept:
                    refuse_loss(keep_warm_advice(own, sizes, capacity=capacity, keep=kept))
        expected = {model: rate for model, rate in rates.items() if model in models}
        return self.warm(
            endpoint, models, options, expected=expected, at_a_time=at_a_time, payload=payload, progress=progress
        )

    def close(self) -> None:
        """Do nothing: the clients of the cells close their invokers."""
