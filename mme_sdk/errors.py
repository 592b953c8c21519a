"""Every exception that mme_sdk raises, in one tree.

```
MMEError
├── InvalidInputError (also a ValueError)   refused here, before anything was sent
│   ├── PayloadTooLargeError
│   └── LayoutError                         a model directory or archive that no container would load
├── ConfigurationError                      no region, no credentials, nothing listening at the address
│   └── MissingExtraError (also an ImportError)
├── StorageError                            the local disk is full, or a local file cannot be read or written
├── ClosedError                             the client was closed
├── NotFoundError
│   ├── EndpointNotFoundError
│   ├── ModelNotFoundError                  no such archive under the prefix
│   └── BucketNotFoundError
├── IntegrityError                          stored bytes are not those that were registered
├── BatchError                              some of many failed; carries each error, the rest is done
├── ConflictError                           exists already with other content, or is busy with another change
├── AccessDeniedError                       says which permission is missing, where the service says so
├── QuotaExceededError                      the account may not have so many; names the quota, where the service does
├── EndpointFailedError                     a create or an update ended badly; carries the failure reason
├── DeadlineError (also a TimeoutError)     the time you gave is over
│   ├── WaitTimeoutError                    a resource did not reach its state
│   └── ModelNotReadyError                  the model was still loading
├── ThrottledError
├── ServiceError                            SageMaker or S3 answered 5xx, or something that is no answer
├── UndecodableReplyError                   the model answered, but not in the form that was asked for; keeps the bytes
│   └── RowCountError                       the answer has more or fewer rows than the request
├── ModelError                              the model's container answered with an error
│   ├── ModelInputError                     4xx: the payload is to blame
│   ├── ModelServerError                    5xx: the model is to blame
│   └── ModelMemoryError                    507: no room for the model
└── TransportError
    ├── NotSentError                        no connection: nothing reached the service
    └── OutcomeUnknownError                 sent, but no whole answer came back: the model may have run
```

Each carries facts, so that callers decide without parsing text: `sent`, `replay_safe`, `fault`, `retry_after`, and
where known `endpoint`, `model`, `code`, `status`, `request_id`, `hint`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

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
"""Whose mistake it is: the calling code, AWS, the model in its container, or the machine and network in between."""


class MMEError(Exception):
    """Base of everything mme_sdk raises.

    Attributes:
        message: What happened, to what, and what the service said.
        hint: What to do next, if anything is known to help.
        sent: Whether the request reached the service; None where that cannot be known.
        replay_safe: Whether doing the same again cannot do it twice.
        fault: Whose mistake it is.
        retry_after: Seconds the service asked to wait, if it did.
        endpoint: Name of the endpoint concerned.
        model: Target model or model name concerned.
        code: The service's own error code, such as `ValidationException`.
        status: The HTTP status of the answer.
        request_id: The AWS request id of the answer.
        attempt_history: Every request of an invocation that ended in this error.
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
        # The default would call the class with the message alone and lose the facts between processes.
        return _rebuild, (type(self), self.message, dict(self.__dict__))


def _rebuild(kind: type[MMEError], message: str, state: dict[str, Any]) -> MMEError:
    error = kind.__new__(kind, message)
    error.args = (message,)
    error.__dict__.update(state)
    return error


class InvalidInputError(MMEError, ValueError):
    """What was given cannot work; it was refused before anything was sent."""

    default_sent = False
    default_fault: ClassVar[Fault] = "caller"


class PayloadTooLargeError(InvalidInputError):
    """The encoded payload is over the limit of the endpoint."""


class LayoutError(InvalidInputError):
    """A model directory or archive whose layout no container would load, or that is unsafe to unpack."""


class ConfigurationError(MMEError):
    """The client cannot work as it is set up: no region, no credentials, nothing at the address."""

    default_sent = False
    default_fault: ClassVar[Fault] = "environment"


class MissingExtraError(ConfigurationError, ImportError):
    """A feature needs a package that is not installed; the message names the extra."""


class StorageError(MMEError):
    """A local file could not be read or written: the disk is full, or permissions are missing."""

    default_sent = False
    default_fault: ClassVar[Fault] = "environment"


class ClosedError(MMEError):
    """The client, transport or host was closed before this call."""

    default_sent = False
    default_fault: ClassVar[Fault] = "caller"


class NotFoundError(MMEError):
    """Something that was named does not exist."""

    default_fault: ClassVar[Fault] = "caller"


class EndpointNotFoundError(NotFoundError):
    """No endpoint of this name in this account and region."""


class ModelNotFoundError(NotFoundError):
    """No archive of this name under the endpoint's S3 prefix."""


class BucketNotFoundError(NotFoundError):
    """No bucket of this name."""


class IntegrityError(MMEError):
    """What is stored is not what was registered: other bytes, or no readable archive."""

    default_fault: ClassVar[Fault] = "environment"


class BatchError(MMEError):
    """Some of many failed; the others are done, and doing all of it again is safe.

    Attributes:
        errors: What went wrong, by name.
        done: What was done.
    """

    def __init__(
        self, message: str, *, errors: Mapping[str, MMEError] | None = None, done: tuple[Any, ...] = (), **facts: Any
    ) -> None:
        super().__init__(message, **facts)
        self.errors: Mapping[str, MMEError] = errors or {}
        self.done = done


class ConflictError(MMEError):
    """It exists already with other content, changed under us, or is busy with another change."""

    default_fault: ClassVar[Fault] = "caller"


class AccessDeniedError(MMEError):
    """The credentials may not do this; the message says which permission, where the service tells."""

    default_fault: ClassVar[Fault] = "caller"


class QuotaExceededError(MMEError):
    """The account's quota does not allow it; the same call works once the quota is raised, or something else is gone.

    Attributes:
        quota: Its name in Service Quotas, such as `ml.m5.xlarge for endpoint usage`, where the service tells.
        limit: What the account may have, in the quota's own unit, where the service tells.
    """

    default_fault: ClassVar[Fault] = "caller"

    def __init__(self, message: str, *, quota: str | None = None, limit: float | None = None, **facts: Any) -> None:
        super().__init__(message, **facts)
        self.quota = quota
        self.limit = limit


class EndpointFailedError(MMEError):
    """An endpoint's creation or update ended badly.

    Attributes:
        reason: SageMaker's FailureReason.
        history: The statuses seen while waiting, as (seconds since the start, status).
    """

    def __init__(
        self,
        message: str,
        *,
        reason: str | None = None,
        history: tuple[tuple[float, str], ...] = (),
        **facts: Any,
    ) -> None:
        super().__init__(message, **facts)
        self.reason = reason
        self.history = history


class DeadlineError(MMEError, TimeoutError):
    """The time that the caller gave is over."""


class WaitTimeoutError(DeadlineError):
    """A resource did not reach the wanted state in time.

    Attributes:
        history: The statuses seen while waiting, as (seconds since the start, status).
    """

    def __init__(self, message: str, *, history: tuple[tuple[float, str], ...] = (), **facts: Any) -> None:
        super().__init__(message, **facts)
        self.history = history


class ModelNotReadyError(DeadlineError):
    """The model was still loading when the deadline came.

    Attributes:
        attempts: How many requests were sent.
        ready_in: Estimated seconds until the model is loaded; None where nothing is known.
    """

    def __init__(self, message: str, *, attempts: int = 0, ready_in: float | None = None, **facts: Any) -> None:
        super().__init__(message, **facts)
        self.attempts = attempts
        self.ready_in = ready_in


class ThrottledError(MMEError):
    """The service throttled the request and the retries that the deadline allowed."""


class ServiceError(MMEError):
    """The service answered 5xx, or answered with something that is no answer."""


class UndecodableReplyError(MMEError):
    """The model ran and answered, but the answer is not in the form that was asked for.

    Attributes:
        body: The raw answer.
        content_type: Its media type.
    """

    default_fault: ClassVar[Fault] = "model"
    default_replay_safe = False

    def __init__(self, message: str, *, body: bytes = b"", content_type: str = "", **facts: Any) -> None:
        super().__init__(message, **facts)
        self.body = body
        self.content_type = content_type


class RowCountError(UndecodableReplyError):
    """The model answered another number of rows than it was sent, so no answer can be given to a row.

    Attributes:
        rows: Rows that were sent.
        answers: Answers that came back; None where the answer is not one value for each row.
    """

    def __init__(self, message: str, *, rows: int = 0, answers: int | None = None, **facts: Any) -> None:
        super().__init__(message, **facts)
        self.rows = rows
        self.answers = answers


class ModelError(MMEError):
    """The model's container answered with an error.

    Attributes:
        original_status: The container's HTTP status; 0 where it gave no answer in time.
        original_message: What the container said.
        log_stream: ARN of the CloudWatch log stream of the container, where SageMaker gave one.
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
        **facts: Any,
    ) -> None:
        super().__init__(message, **facts)
        self.original_status = original_status
        self.original_message = original_message
        self.log_stream = log_stream


class ModelInputError(ModelError):
    """The container refused the payload (4xx)."""

    default_fault: ClassVar[Fault] = "caller"


class ModelServerError(ModelError):
    """The model failed (5xx), or gave no answer in time."""


class ModelMemoryError(ModelServerError):
    """The container has no memory for this model (507)."""


class TransportError(MMEError):
    """The network between this process and the service failed."""

    default_fault: ClassVar[Fault] = "environment"


class NotSentError(TransportError):
    """No connection could be made, so nothing reached the service."""

    default_sent = False


class OutcomeUnknownError(TransportError):
    """The request was sent but no whole answer came back: the model may have run.

    Attributes:
        answer_began: Whether any byte of an answer came; False also where the transport cannot tell.
    """

    default_sent = None
    default_replay_safe = False
    answer_began: bool = False
