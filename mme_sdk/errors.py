"""Every exception that mme_sdk raises, as one class tree. One file because a reader looks up all errors in one place.

```
MMEError
├── InvalidInputError (also a ValueError)   an argument is invalid; nothing was sent
│   ├── PayloadTooLargeError                the payload exceeds the endpoint's size limit
│   └── LayoutError                         a container would not load this model directory or archive
├── ConfigurationError                      no region, no credentials, or no server at the address
│   └── MissingExtraError (also an ImportError)   a package is not installed
├── StorageError                            the local disk is full, or a local file cannot be read or written
├── ClosedError                             the client was closed
├── NotFoundError                           a named resource does not exist
│   ├── EndpointNotFoundError
│   ├── ModelNotFoundError                  no such archive under the endpoint's S3 prefix
│   └── BucketNotFoundError
├── IntegrityError                          the stored bytes differ from the registered bytes
├── BatchError                              some items of a batch failed; the other items are done
├── ConflictError                           the resource exists with other content, or another change is in progress
├── AccessDeniedError                       the credentials lack a permission
├── QuotaExceededError                      a quota of the account is reached
├── EndpointFailedError                     the creation or update of an endpoint failed
├── DeadlineError (also a TimeoutError)     the deadline of the call has passed
│   ├── WaitTimeoutError                    a resource did not reach its state in time
│   └── ModelNotReadyError                  the model was still loading
├── ThrottledError                          the service throttled the request
├── ServiceError                            SageMaker or S3 returned 5xx, or a response that is not valid
├── UndecodableReplyError                   the model's response cannot be decoded to the requested type
│   └── RowCountError                       the response has more or fewer rows than the request
├── ModelError                              the model's container returned an error
│   ├── ModelInputError                     4xx: the container rejected the payload
│   └── ModelServerError                    5xx: the model failed
│       └── ModelMemoryError                507: the container has too little memory for the model
└── TransportError                          a network error between this process and the service
    ├── NotSentError                        no connection; the service did not receive the request
    └── OutcomeUnknownError                 the request was sent, but no complete response arrived
```

Each error carries facts as attributes, so that a program need not parse the text: `sent`, `replay_safe`, `fault`,
`retry_after`, and `endpoint`, `model`, `code`, `status`, `request_id` and `hint` if they are known.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypedDict, Unpack

if TYPE_CHECKING:
    from mme_sdk._attempt import Attempt

__all__ = [
    "AccessDeniedError",
    "BatchError",
    "BucketNotFoundError",
    "ClosedError",
    "ConfigurationError",
    "ConflictError",
    "DeadlineError",
    "EndpointFailedError",
    "EndpointNotFoundError",
    "ErrorFacts",
    "Fault",
    "IntegrityError",
    "InvalidInputError",
    "LayoutError",
    "MMEError",
    "MissingExtraError",
    "ModelError",
    "ModelInputError",
    "ModelMemoryError",
    "ModelNotFoundError",
    "ModelNotReadyError",
    "ModelServerError",
    "NotFoundError",
    "NotSentError",
    "OutcomeUnknownError",
    "PayloadTooLargeError",
    "QuotaExceededError",
    "RowCountError",
    "ServiceError",
    "StorageError",
    "ThrottledError",
    "TransportError",
    "UndecodableReplyError",
    "WaitTimeoutError",
]

Fault = Literal["caller", "service", "model", "environment"]
"""The cause of an error.

- `caller`: the calling code, its arguments or its permissions.
- `service`: AWS.
- `model`: the model in its container.
- `environment`: the machine, its configuration, or the network to AWS.
"""


class ErrorFacts(TypedDict, total=False):
    """Keyword arguments that every error accepts. `MMEError` documents them."""

    hint: str | None
    sent: bool | None
    replay_safe: bool | None
    fault: Fault | None
    retry_after: float | None
    endpoint: str | None
    model: str | None
    code: str | None
    status: int | None
    request_id: str | None


class MMEError(Exception):
    """Base class of every exception that mme_sdk raises.

    Args:
        message: What happened, and to which resource.
        hint: What to do next. None if no advice is known.
        sent: Whether the request reached the service. The default depends on the class.
        replay_safe: Whether the same call can be repeated without a second effect. The default depends on the class.
        fault: The cause of the error; see `Fault`. The default depends on the class.
        retry_after: Seconds to wait before a retry, as the service requested. None if it requested nothing.
        endpoint: Name of the endpoint.
        model: Target model, or name of the model.
        code: Error code of the service, such as `ValidationException`.
        status: HTTP status of the response.
        request_id: AWS request id of the response.

    Attributes:
        message: What happened, and to which resource.
        hint: What to do next. None if no advice is known.
        sent: Whether the request reached the service. None if this cannot be known.
        replay_safe: Whether the same call can be repeated without a second effect.
        fault: The cause of the error; see `Fault`.
        retry_after: Seconds to wait before a retry, as the service requested. None if it requested nothing.
        endpoint: Name of the endpoint. None if unknown.
        model: Target model, or name of the model. None if unknown.
        code: Error code of the service, such as `ValidationException`. None if there was no response.
        status: HTTP status of the response. None if there was no response.
        request_id: AWS request id of the response. None if there was no response.
        attempt_history: The requests of the invocation that raised this error, in order. Empty for other calls.

    Example:
        ```python
        try:
            reply = endpoint.invoke({"amount": 12.5}, model="fraud/v3.tar.gz")
        except MMEError as error:
            if not error.replay_safe:
                raise
            queue.put(payload)  # repeat the call later
        ```
    """

    default_sent: ClassVar[bool | None] = True
    default_replay_safe: ClassVar[bool] = True
    default_fault: ClassVar[Fault] = "service"

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        sent: bool | None = None,
        replay_safe: bool | None = None,
        fault: Fault | None = None,
        retry_after: float | None = None,
        endpoint: str | None = None,
        model: str | None = None,
        code: str | None = None,
        status: int | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.sent = self.default_sent if sent is None else sent
        self.replay_safe = self.default_replay_safe if replay_safe is None else replay_safe
        self.fault: Fault = self.default_fault if fault is None else fault
        self.retry_after = retry_after
        self.endpoint = endpoint
        self.model = model
        self.code = code
        self.status = status
        self.request_id = request_id
        self.attempt_history: tuple[Attempt, ...] = ()

    def __str__(self) -> str:
        text = self.message if self.hint is None else f"{self.message}\n  {self.hint}"
        return text if self.request_id is None else f"{text}\n  (request id {self.request_id})"

    def __reduce__(self) -> tuple[Any, ...]:
        # Exception.__reduce__ keeps only the message. This keeps the facts too, for multiprocessing and pickle.
        return _rebuild, (type(self), self.message, dict(self.__dict__))


def _rebuild(kind: type[MMEError], message: str, state: dict[str, Any]) -> MMEError:
    error = kind.__new__(kind, message)
    error.args = (message,)
    error.__dict__.update(state)
    return error


class InvalidInputError(MMEError, ValueError):
    """An argument is invalid. The SDK sent no request. Correct the argument that the text names."""

    default_sent = False
    default_fault: ClassVar[Fault] = "caller"


class PayloadTooLargeError(InvalidInputError):
    """The encoded payload exceeds the size limit of the endpoint.

    Send fewer rows in one call, use a compact encoding (NPY, Parquet), or put the data into S3 and send its address.
    """


class LayoutError(InvalidInputError):
    """A model directory or archive has a layout that no container loads, or is not safe to unpack.

    The text names the file. Move or rename files as the hint says, and pack the model again.
    """


class ConfigurationError(MMEError):
    """The client cannot work with its configuration: no region, no credentials, or no server at the address.

    Correct the environment, the AWS profile or the arguments of the client.
    """

    default_sent = False
    default_fault: ClassVar[Fault] = "environment"


class MissingExtraError(ConfigurationError, ImportError):
    """A feature needs a package that is not installed. The hint has the `pip install` command."""


class StorageError(MMEError):
    """A local file cannot be read or written. Free disk space, or correct the permissions of the path in the text."""

    default_sent = False
    default_fault: ClassVar[Fault] = "environment"


class ClosedError(MMEError):
    """The client, transport or host was closed before this call. Create a new client."""

    default_sent = False
    default_fault: ClassVar[Fault] = "caller"


class NotFoundError(MMEError):
    """A named resource does not exist. Check the name, the account and the region."""

    default_fault: ClassVar[Fault] = "caller"


class EndpointNotFoundError(NotFoundError):
    """The account has no endpoint of this name in this region."""


class ModelNotFoundError(NotFoundError):
    """The endpoint's S3 prefix has no archive of this name. Register the model, or correct the name."""


class BucketNotFoundError(NotFoundError):
    """No S3 bucket has this name. Create the bucket, or correct the name."""


class IntegrityError(MMEError):
    """A stored object differs from what was written, or cannot be read.

    If it is a model's archive, register the model again. If it is an object of a ledger, delete it.
    """

    default_fault: ClassVar[Fault] = "environment"


class BatchError(MMEError):
    """Some items of a batch failed. The other items are done. It is safe to repeat the whole batch.

    Args:
        message: What happened.
        errors: The error of each item that failed, by name. Empty by default.
        done: The results of the other items. Empty by default.
        facts: See `MMEError`.

    Attributes:
        errors: The error of each item that failed, by name.
        done: The results of the other items.
    """

    def __init__(
        self,
        message: str,
        *,
        errors: Mapping[str, MMEError] | None = None,
        done: tuple[Any, ...] = (),
        **facts: Unpack[ErrorFacts],
    ) -> None:
        super().__init__(message, **facts)
        self.errors: Mapping[str, MMEError] = errors or {}
        self.done = done


class ConflictError(MMEError):
    """The resource exists with other content, was changed during the call, or is in use by another change.

    Read the resource again and repeat the call, or wait until the other change has ended.
    """

    default_fault: ClassVar[Fault] = "caller"


class AccessDeniedError(MMEError):
    """The credentials lack a permission. The text names it if the service does. Add it to the IAM policy."""

    default_fault: ClassVar[Fault] = "caller"


class QuotaExceededError(MMEError):
    """A quota of the account is reached. Raise the quota in Service Quotas, or delete resources, and repeat the call.

    Args:
        message: What happened.
        quota: Name of the quota in Service Quotas. None if the service does not name it.
        limit: Value of the quota, in the quota's own unit. None if the service does not state it.
        facts: See `MMEError`.

    Attributes:
        quota: Name of the quota in Service Quotas, such as `ml.m5.xlarge for endpoint usage`. None if unknown.
        limit: Value of the quota, in the quota's own unit. None if unknown.
    """

    default_fault: ClassVar[Fault] = "caller"

    def __init__(
        self, message: str, *, quota: str | None = None, limit: float | None = None, **facts: Unpack[ErrorFacts]
    ) -> None:
        super().__init__(message, **facts)
        self.quota = quota
        self.limit = limit


class EndpointFailedError(MMEError):
    """The creation or update of an endpoint failed. Correct the cause in `reason` and repeat it.

    Args:
        message: What happened.
        reason: The FailureReason of SageMaker. None if there is none.
        history: The statuses seen during the wait. Empty by default.
        facts: See `MMEError`.

    Attributes:
        reason: The FailureReason of SageMaker. None if there is none.
        history: The statuses seen during the wait, as (seconds since its start, status).
    """

    def __init__(
        self,
        message: str,
        *,
        reason: str | None = None,
        history: tuple[tuple[float, str], ...] = (),
        **facts: Unpack[ErrorFacts],
    ) -> None:
        super().__init__(message, **facts)
        self.reason = reason
        self.history = history


class DeadlineError(MMEError, TimeoutError):
    """The deadline of the call has passed. Give the call more time, or find out why the service is slow."""


class WaitTimeoutError(DeadlineError):
    """A resource did not reach the requested state in time. It may still reach it; wait again.

    Args:
        message: What happened.
        history: The statuses seen during the wait. Empty by default.
        facts: See `MMEError`.

    Attributes:
        history: The statuses seen during the wait, as (seconds since its start, status).
    """

    def __init__(
        self, message: str, *, history: tuple[tuple[float, str], ...] = (), **facts: Unpack[ErrorFacts]
    ) -> None:
        super().__init__(message, **facts)
        self.history = history


class ModelNotReadyError(DeadlineError):
    """The model was still loading at the deadline. SageMaker continues to load it. Repeat the call after `ready_in`.

    Args:
        message: What happened.
        attempts: Number of requests that were sent. 0 by default.
        ready_in: Estimated seconds until the model is loaded. None if there is no estimate.
        facts: See `MMEError`.

    Attributes:
        attempts: Number of requests that were sent.
        ready_in: Estimated seconds until the model is loaded. None if there is no estimate.
    """

    def __init__(
        self, message: str, *, attempts: int = 0, ready_in: float | None = None, **facts: Unpack[ErrorFacts]
    ) -> None:
        super().__init__(message, **facts)
        self.attempts = attempts
        self.ready_in = ready_in


class ThrottledError(MMEError):
    """The service throttled the request and every retry within the deadline. Send fewer requests, or scale out."""


class ServiceError(MMEError):
    """The service returned 5xx, or a response that is not valid. Repeat the call later if `replay_safe` is True."""


class UndecodableReplyError(MMEError):
    """The model ran, but its response cannot be decoded to the requested type.

    The bytes are in `body`. Correct the model's output or its Content-Type, or ask for another `response_type`.

    Args:
        message: What happened.
        body: The raw response. Empty by default.
        content_type: Media type of the response. Empty by default.
        facts: See `MMEError`.

    Attributes:
        body: The raw response.
        content_type: Media type of the response.
    """

    default_fault: ClassVar[Fault] = "model"
    default_replay_safe = False

    def __init__(self, message: str, *, body: bytes = b"", content_type: str = "", **facts: Unpack[ErrorFacts]) -> None:
        super().__init__(message, **facts)
        self.body = body
        self.content_type = content_type


class RowCountError(UndecodableReplyError):
    """The response has more or fewer rows than the request, so that no row can be matched with its result.

    Correct the model so that it returns one result for each row.

    Args:
        message: What happened.
        rows: Number of rows in the request. 0 by default.
        answers: Number of results in the response. None if the response is not one value for each row.
        body: The raw response. Empty by default.
        content_type: Media type of the response. Empty by default.
        facts: See `MMEError`.

    Attributes:
        rows: Number of rows in the request.
        answers: Number of results in the response. None if the response is not one value for each row.
    """

    def __init__(
        self,
        message: str,
        *,
        rows: int = 0,
        answers: int | None = None,
        body: bytes = b"",
        content_type: str = "",
        **facts: Unpack[ErrorFacts],
    ) -> None:
        super().__init__(message, body=body, content_type=content_type, **facts)
        self.rows = rows
        self.answers = answers


class ModelError(MMEError):
    """The model's container returned an error. Read `original_message` and the log stream.

    Args:
        message: What happened.
        original_status: HTTP status of the container. 0 if it did not respond in time. None if unknown.
        original_message: Error text of the container. None if unknown.
        log_stream: ARN of the container's CloudWatch log stream. None if SageMaker did not name it.
        facts: See `MMEError`.

    Attributes:
        original_status: HTTP status of the container. 0 if it did not respond in time. None if unknown.
        original_message: Error text of the container. None if unknown.
        log_stream: ARN of the container's CloudWatch log stream. None if SageMaker did not name it.
    """

    default_fault: ClassVar[Fault] = "model"
    default_replay_safe = False

    def __init__(
        self,
        message: str,
        *,
        original_status: int | None = None,
        original_message: str | None = None,
        log_stream: str | None = None,
        **facts: Unpack[ErrorFacts],
    ) -> None:
        super().__init__(message, **facts)
        self.original_status = original_status
        self.original_message = original_message
        self.log_stream = log_stream


class ModelInputError(ModelError):
    """The container rejected the payload (4xx). Send the payload that the model expects."""

    default_fault: ClassVar[Fault] = "caller"


class ModelServerError(ModelError):
    """The model failed (5xx), or the container did not respond in time. Read the container's log stream."""


class ModelMemoryError(ModelServerError):
    """The container has too little memory for this model (507). Use a larger instance, or invoke fewer models on it."""


class TransportError(MMEError):
    """A network error occurred between this process and the service. Check the network and the address."""

    default_fault: ClassVar[Fault] = "environment"


class NotSentError(TransportError):
    """The request was not sent completely, or no connection was made. The model did not run. Repeat the call."""

    default_sent = False


class OutcomeUnknownError(TransportError):
    """The request was sent, but no complete response arrived. The model may have run.

    Repeat the call only if a second run of the model does no harm.

    Attributes:
        answer_began: Whether any byte of a response arrived. Also False if the transport cannot know.
    """

    default_sent = None
    default_replay_safe = False
    answer_began: bool = False
