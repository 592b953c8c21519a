# Generated from async_invoker.py by scripts/unasync.py. Change that file, then run `make facades`.
"""`RuntimeInvoker`: sends invocations and returns typed replies, in the calling thread."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping, Sequence
from typing import Any

from mme_sdk._flows.effects import Flow
from mme_sdk.aws.session import Aws
from mme_sdk.config import RetryPolicy, Timeouts
from mme_sdk.protocols import Clock, ModelStore, Rng
from mme_sdk.runtime._invoker_base import PAYLOAD_LIMIT
from mme_sdk.runtime.batch.mixin import BatchMixin
from mme_sdk.runtime.cold_start.memory import Memory
from mme_sdk.runtime.effects import Waitable
from mme_sdk.runtime.interpreters import interpreter, wait_in_thread
from mme_sdk.runtime.options import DEFAULT_OPTIONS, InvokeOptions
from mme_sdk.runtime.payloads.codecs import Codecs
from mme_sdk.runtime.retry.budgets import Pace
from mme_sdk.runtime.single_model.mixin import SingleModelMixin
from mme_sdk.runtime.telemetry.hooks import Hook
from mme_sdk.runtime.transport_interface import InvokeResponse, Transport
from mme_sdk.types.model import ModelVersion
from mme_sdk.types.reply import Reply

__all__ = ["RuntimeInvoker"]


class RuntimeInvoker(BatchMixin, SingleModelMixin):
    """Synchronous invoker: encodes a payload, sends it, waits for cold starts, retries, and decodes the answer.

    Applications call `Endpoint.invoke`, which calls this class. One invoker serves any number of endpoints and is
    safe to share.

    Args:
        aws: AWS session. It reads what a request alone does not tell, such as an endpoint's S3 prefix.
        transport: Sends the requests.
        timeouts: Connect and read time-outs and the default deadline, in seconds. None means those of `aws`.
        retry: Retry policy. None means that of `aws`.
        clock: Time and sleep. None means the clock of `aws`.
        rng: Randomness for jitter. None means `random.Random()`.
        codecs: Encodes payloads and decodes answers. None means the built-in codecs.
        models: Returns the registry of an S3 prefix, which resolves `name@alias`. None refuses aliases.
        stores: Registries in use, by S3 prefix. A model that one of them knows to be deleted is refused before the
            request is sent.
        memory: Load times and loaded models. Pass one memory to several invokers to share it. None makes a new one.
        hooks: Functions that receive the events of `mme_sdk.runtime.telemetry.hooks`.
        payload_limit: Largest payload, in bytes. Default 25 MiB, the limit of InvokeEndpoint.
        wait: Waits until another call of the same model ends, for at most the given seconds. Tests replace it.
        owns_transport: Whether `close` closes the transport. Default True.
    """

    def __init__(
        self,
        aws: Aws,
        transport: Transport,
        *,
        timeouts: Timeouts | None = None,
        retry: RetryPolicy | None = None,
        clock: Clock | None = None,
        rng: Rng | None = None,
        codecs: Codecs | None = None,
        models: Callable[[str], ModelStore] | None = None,
        stores: MutableMapping[str, ModelStore] | None = None,
        memory: Memory | None = None,
        hooks: Sequence[Hook] = (),
        payload_limit: int = PAYLOAD_LIMIT,
        wait: Callable[[Waitable, float], bool] = wait_in_thread,
        owns_transport: bool = True,
    ) -> None:
        super().__init__(
            aws,
            timeouts=timeouts,
            retry=retry,
            clock=clock or aws.clock,
            rng=rng,
            codecs=codecs,
            models=models,
            stores=stores,
            memory=memory,
            hooks=hooks,
            payload_limit=payload_limit,
        )
        self._transport = transport
        self._interpreter = interpreter(transport, clock=clock or aws.clock, aws=aws, wait=wait)
        self._owns_transport = owns_transport

    def invoke(
        self,
        endpoint: str,
        data: Any,
        model: str | ModelVersion | None = None,
        options: InvokeOptions = DEFAULT_OPTIONS,
    ) -> Reply[Any]:
        """Invoke a model and return its answer.

        Args:
            endpoint: Name of the endpoint.
            data: The payload: bytes, str, a JSON value, a numpy array, a pandas frame or a pydantic model.
            model: Target model of a multi-model endpoint, or `name@alias`. None for a single-model endpoint.
            options: Options of the call.

        Returns:
            The answer.

        Raises:
            InvalidInputError: An argument is invalid, or SageMaker rejected the request.
            ModelNotReadyError: The model was still loading at the deadline.
            ModelNotFoundError: The archive does not exist. The hint lists similar names.
            ModelError: The container answered with an error.
            OutcomeUnknownError: The connection failed after the request was sent. The model may have run.
            ThrottledError: SageMaker throttled every attempt until the deadline.
            ServiceError: SageMaker failed.
            UndecodableReplyError: The answer cannot be decoded to `response_type`.
            RowCountError: The payload is a table, and the answer has another number of rows.
        """
        return self._call(endpoint, data, model, options)

    def _invoke_item(
        self, endpoint: str, data: Any, model: str | ModelVersion | None, options: InvokeOptions
    ) -> Reply[Any]:
        """Invoke for an item of a batch. If the endpoint throttles, the calls of all batches slow down together."""
        return self._call(endpoint, data, model, options, self.memory.endpoint(endpoint).pace)

    def _run(self, flow: Flow[Any]) -> Any:
        return self._interpreter.run(flow)

    def _call(
        self,
        endpoint: str,
        data: Any,
        model: str | ModelVersion | None,
        options: InvokeOptions,
        pace: Pace | None = None,
    ) -> Reply[Any]:
        patient = pace is not None
        call = None if pace is not None and pace.limited else self._prepare(endpoint, data, model, options)
        if call is None:
            return self._interpreter.run(self._flow(endpoint, data, model, options, patient=patient))
        outcome: InvokeResponse | Exception
        try:
            outcome = self._transport.send(
                call.request, connect_timeout=call.connect_timeout, read_timeout=call.read_timeout
            )
        except Exception as error:  # noqa: BLE001 - the flow handles it
            outcome = error
        else:
            reply = self._warm_calls.complete(call, outcome)
            if reply is not None:
                if pace is not None:
                    pace.answered(self._settings.clock.monotonic())
                return reply
        return self._interpreter.run(self._flow(endpoint, data, model, options, call, outcome, patient=patient))

    def close(self) -> None:
        """Close the invoker, and its transport if it owns it. Later calls raise ClosedError. Idempotent."""
        self._closed = True
        if self._owns_transport:
            self._transport.close()
