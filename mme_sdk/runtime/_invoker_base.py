"""The part of both invokers that does not depend on how they wait and send."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, MutableMapping, Sequence
from typing import Any

from mme_sdk._flows.cancellation import check
from mme_sdk._flows.effects import Flow
from mme_sdk._validation import as_float
from mme_sdk.aws.session import Aws
from mme_sdk.config import RetryPolicy, Timeouts
from mme_sdk.errors import (
    ClosedError,
    ConfigurationError,
    EndpointNotFoundError,
    InvalidInputError,
    MMEError,
    ModelNotFoundError,
)
from mme_sdk.protocols import AsyncClock, AsyncModelStore, Clock, ModelStore, Rng
from mme_sdk.runtime.cold_start.memory import Memory
from mme_sdk.runtime.diagnostics import model_prefix
from mme_sdk.runtime.effects import Resolve, RunFlow
from mme_sdk.runtime.model_names import below_prefix, is_stored, recognise
from mme_sdk.runtime.options import InvokeOptions, check_options
from mme_sdk.runtime.payloads.codecs import OCTETS, Codecs
from mme_sdk.runtime.payloads.requests import build_request, check_endpoint
from mme_sdk.runtime.payloads.row_counts import rows_of
from mme_sdk.runtime.retry.attempts import Attempts, Settings
from mme_sdk.runtime.telemetry.hooks import CallFailed, Hook, emit
from mme_sdk.runtime.transport_interface import InvokeResponse
from mme_sdk.runtime.warm_calls import WarmCall, WarmCalls, completed, decode_answer
from mme_sdk.types.model import ModelVersion, check_compressed
from mme_sdk.types.reply import Reply, reply_of
from mme_sdk.types.s3uri import S3Uri

__all__ = ["PAYLOAD_LIMIT", "Invocations"]

# Bytes; https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_runtime_InvokeEndpoint.html
PAYLOAD_LIMIT = 25 * 1024 * 1024
_ALIAS = re.compile(r"[^@]*[^@/\s]@[^/@\s]+")
_MAX_NAMES = 10_000  # remembered for an endpoint; a program exceeds it only if it generates names


class Invocations:
    """The flow of an invocation, from the caller's arguments to a typed reply, for any interpreter."""

    def __init__(
        self,
        aws: Aws,
        *,
        timeouts: Timeouts | None = None,
        retry: RetryPolicy | None = None,
        clock: Clock | AsyncClock | None = None,
        rng: Rng | None = None,
        codecs: Codecs | None = None,
        models: Callable[[str], ModelStore] | Callable[[str], AsyncModelStore] | None = None,
        stores: MutableMapping[str, Any] | None = None,
        memory: Memory | None = None,
        hooks: Sequence[Hook] = (),
        payload_limit: int = PAYLOAD_LIMIT,
    ) -> None:
        self._aws = aws
        retry = retry or aws.retry
        self.memory = memory or Memory(retry=retry)
        self._settings = Settings(
            timeouts=timeouts or aws.timeouts,
            retry=retry,
            clock=clock or aws.clock,
            rng=rng or random.Random(),
            memory=self.memory,
            hooks=tuple(hooks),
        )
        self._hooks = self._settings.hooks
        self._codecs = codecs or Codecs()
        self._models = models
        self._stores: MutableMapping[str, ModelStore | AsyncModelStore] = {} if stores is None else stores
        self._payload_limit = payload_limit
        self._warm_calls = WarmCalls(self._settings, self._codecs, payload_limit)
        self._unreadable: set[str] = set()  # endpoints whose S3 prefix cannot be read
        self._closed = False

    def __reduce__(self) -> tuple[Any, ...]:
        from mme_sdk.aws.travel import refuse_pickle

        raise refuse_pickle("an invoker", "pickle the client, or a handle of it")

    def _prepare(self, endpoint: str, data: Any, model: Any, options: InvokeOptions) -> WarmCall | None:
        """Return a call that takes the short way, ready to be sent; None if it does not."""
        check()
        if self._closed:
            return None
        if self._stores and model is not None:
            store = self._stores.get(options.prefix)  # type: ignore[arg-type]
            if store is not None:
                is_stored = getattr(store, "is_stored", None)  # a registry answers without a call; other stores may not
                if is_stored is None or not is_stored(model):
                    return None
        return self._warm_calls.prepare(endpoint, data, model, options)

    def _flow(
        self,
        endpoint: str,
        data: Any,
        model: str | ModelVersion | None,
        options: InvokeOptions,
        sent: WarmCall | None = None,
        outcome: InvokeResponse | Exception | None = None,
        *,
        patient: bool = False,
    ) -> Flow[Reply[Any]]:
        """Return the flow of a call.

        Args:
            endpoint: Name of the endpoint.
            data: The payload.
            model: The model, as the caller names it.
            options: Options of the call.
            sent: The call as it was prepared, if its first request was sent already.
            outcome: What this request met.
            patient: Whether throttling delays the call until its deadline, as in a batch.
        """
        if isinstance(outcome, Exception):
            check()  # a connection that was shut down fails like one that was lost
        if self._closed and sent is None:
            raise ClosedError("this invoker is closed", hint="create a new one", endpoint=endpoint)
        began = self._settings.clock.monotonic() if sent is None else sent.began
        prefix, response_type = options.prefix, options.response_type
        check_endpoint(endpoint)
        written, names, remembered = model, self.memory.endpoint(endpoint).names, False
        if isinstance(model, str):
            if names and model in names:
                model, remembered = names[model], True
            elif model[:5].lower() == "s3://":
                model = below_prefix(endpoint, model, (yield from self._prefix(endpoint, model, prefix)))
        elif isinstance(model, ModelVersion):
            yield from self._refuse_foreign(endpoint, model, prefix)
        alias = _is_alias(model)
        try:
            target, size = yield from self._target(endpoint, model, options, alias=alias)
        except ModelNotFoundError:
            if not remembered:
                raise
            names.pop(str(written), None)  # what the name stood for is gone
            model, remembered, alias = written, False, _is_alias(written)
            target, size = yield from self._target(endpoint, model, options, alias=alias)
        if response_type is not None:
            wanted = self._codecs.accept(response_type, options.accept)
            if options.accept is None:
                options = options._replace(accept=wanted)
        if sent is None:
            request = build_request(
                self._codecs, data, options, endpoint=endpoint, target=target, payload_limit=self._payload_limit
            )
            rows = rows_of(data, request.content_type)
        else:
            request, rows = sent.request, sent.rows
        if options.sticky is not None and not alias:
            given = "this call has no model" if target is None else f"{target} is a single version"
            raise InvalidInputError(
                f"{endpoint}: sticky selects a version of an alias, but {given}",
                hint="pass model='name@alias', or omit sticky",
                endpoint=endpoint,
                model=target,
            )
        if target is not None and self._stores and "@" not in target:
            yield from self._refuse_deleted(endpoint, target, _prefix_of(model) or prefix)
        deadline = self._settings.timeouts.deadline if options.deadline is None else as_float(options.deadline)
        attempts = Attempts(
            self._settings, request, began=began, deadline=deadline, idempotent=options.idempotent, patient=patient
        )
        if size is not None:
            attempts.model.size = size
        while True:
            try:
                answer = yield from attempts.run(outcome)
                reply = self._reply(answer, attempts, response_type, rows)
            except MMEError as error:
                outcome = None
                attempts.describe(error)
                if isinstance(error, ModelNotFoundError):
                    first = isinstance(model, str) and not alias
                    store_of = None if self._models is None else self._store
                    found = yield from recognise(error, prefix, store_of, resolve=first and not remembered)
                    if remembered:
                        names.pop(str(written), None)  # what the name stood for is gone
                    if found is not None:
                        model, alias = found, "@" in found
                        target, size = yield from self._target(endpoint, found, options, alias=alias)
                        attempts = attempts.of_model(str(target), size)
                        continue
                from mme_sdk.runtime.diagnostics import explain_endpoint, explain_payload

                if isinstance(error, EndpointNotFoundError):
                    explained = attempts.describe((yield RunFlow(explain_endpoint(error))))
                    if self._hooks:
                        self._emit_failure(explained, attempts)
                    raise explained from error.__cause__
                explain_payload(error, data, request.content_type)
                if self._hooks:
                    self._emit_failure(error, attempts)
                raise
            break
        if model is not written and isinstance(written, str) and isinstance(model, str):
            if len(names) >= _MAX_NAMES:
                names.clear()
            names[written] = model
        if self._hooks:
            event = completed(
                attempts.request, answer, attempts=len(attempts.history), cold=reply.cold, took=reply.latency
            )
            emit(self._hooks, event)
        return reply

    def _target(
        self, endpoint: str, model: str | ModelVersion | None, options: InvokeOptions, *, alias: bool
    ) -> Flow[tuple[str | None, int | None]]:
        """Return the target model, and the size of its archive if it is known."""
        if isinstance(model, ModelVersion):
            check_compressed(model, "a multi-model endpoint")
            return model.target_model, model.size
        if not alias or model is None:
            return model, None
        check_options(options)
        found = yield from self._resolve(endpoint, model, options.prefix, options.sticky)
        return (found, None) if isinstance(found, str) else (found.target_model, found.size)

    def _pinned(self, endpoint: str, model: Any, options: InvokeOptions) -> Flow[Any]:
        """Return what an alias or an S3 address stands for now; any other model itself."""
        if isinstance(model, str) and model[:5].lower() == "s3://":
            model = below_prefix(endpoint, model, (yield from self._prefix(endpoint, model, options.prefix)))
        if _is_alias(model):
            return (yield from self._resolve(endpoint, model, options.prefix, options.sticky))
        return model

    def _prefix(self, endpoint: str, reference: str, prefix: str | None) -> Flow[str]:
        """Return the S3 prefix of a multi-model endpoint, which is read from SageMaker once."""
        if prefix is None:
            known = self.memory.endpoint(endpoint)
            if known.prefix is None:
                known.prefix = yield RunFlow(model_prefix(endpoint))
            prefix = known.prefix
        if prefix is None:
            raise InvalidInputError(
                f"{endpoint} is not a multi-model endpoint, so it has no model {reference!r}",
                hint="omit model=",
                endpoint=endpoint,
                model=reference,
            )
        return prefix

    def _refuse_foreign(self, endpoint: str, version: ModelVersion, prefix: str | None) -> Flow[None]:
        """Raise InvalidInputError for a version of another S3 prefix: the endpoint would run its own model of this key.

        The prefix is read if the client has several registries, or if the version is not below the prefix that is
        known: the endpoint may have been updated since.
        """
        known = self.memory.endpoint(endpoint)
        where = known.prefix or prefix
        if not version.compressed or (len(self._stores) < 2 if where is None else _is_below(version.uri, where)):
            return
        if endpoint not in self._unreadable:
            try:
                where = known.prefix = (yield RunFlow(model_prefix(endpoint))) or where
            except MMEError:
                self._unreadable.add(endpoint)  # the caller may not read it
        if where is not None:
            below_prefix(endpoint, version.uri, where)

    def _store(self, prefix: str) -> ModelStore | AsyncModelStore:
        assert self._models is not None
        store = self._stores.get(prefix)
        return self._stores.setdefault(prefix, self._models(prefix)) if store is None else store  # it has a cache

    def _resolve(
        self, endpoint: str, reference: str, prefix: str | None, sticky: str | None
    ) -> Flow[ModelVersion | str]:
        if self._models is None:
            raise ConfigurationError(
                f"{reference!r} is an alias, but this invoker has no registry that resolves aliases",
                hint="invoke through MMEClient, or pass the target model",
                endpoint=endpoint,
                model=reference,
            )
        prefix = yield from self._prefix(endpoint, reference, prefix)
        try:
            found: ModelVersion | str = yield Resolve(self._store(prefix), reference, sticky)
        except ModelNotFoundError as error:
            error.endpoint = endpoint
            if "/" in reference and (yield RunFlow(is_stored(S3Uri.parse(prefix).as_prefix(), reference))):
                return reference  # a key that only looks like an alias
            raise
        return found

    def _refuse_deleted(self, endpoint: str, target: str, prefix: str | None) -> Flow[None]:
        """Raise ModelNotFoundError if a registry in use knows that the model was deleted."""
        store = None if prefix is None else self._stores.get(prefix)
        if store is None:
            return
        try:
            yield Resolve(store, target)
        except ModelNotFoundError as error:
            error.endpoint = endpoint
            raise
        except MMEError:
            # A caller that may invoke may lack access to S3. Later calls of this invoker do not ask the registry.
            self._stores.pop(str(prefix), None)

    def _reply(
        self, answer: InvokeResponse, attempts: Attempts, response_type: Any, rows: int | None = None
    ) -> Reply[Any]:
        request = attempts.request
        value = decode_answer(self._codecs, request, answer, response_type, rows)
        return reply_of(
            {
                "body": answer.body,
                "content_type": answer.headers.get("content-type", OCTETS),
                "_value": value,
                "model": request.target_model,
                "endpoint": request.endpoint,
                "history": tuple(attempts.history),
                "cold": attempts.cold,
                "latency": self._settings.clock.monotonic() - attempts.began,
                "_headers": answer.headers,
            }
        )

    def _emit_failure(self, error: MMEError, attempts: Attempts) -> None:
        took = self._settings.clock.monotonic() - attempts.began
        emit(
            self._hooks,
            CallFailed(endpoint=attempts.request.endpoint, model=attempts.request.target_model, error=error, took=took),
        )


def _is_alias(model: Any) -> bool:
    return isinstance(model, str) and not model.endswith(".gz") and _ALIAS.fullmatch(model) is not None


def _is_below(address: str, prefix: str) -> bool:
    return address.startswith(prefix if prefix.endswith("/") else f"{prefix}/")


def _prefix_of(model: Any) -> str | None:
    return model.uri.removesuffix(model.target_model) if isinstance(model, ModelVersion) else None
