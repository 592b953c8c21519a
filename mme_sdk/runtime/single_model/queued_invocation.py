# Generated from async_queued_invocation.py by scripts/unasync.py. Change that file, then run `make facades`.
"""`QueuedInvocation`: an asynchronous inference that was submitted."""

from __future__ import annotations

from typing import Any

import attrs

from mme_sdk._tracebacks import short_tracebacks
from mme_sdk.aws.session import Aws
from mme_sdk.aws.travel import refuse_pickle
from mme_sdk.runtime.payloads.codecs import Codecs
from mme_sdk.runtime.single_model.async_inference import Submission, result_of
from mme_sdk.types.reply import Reply

__all__ = ["QueuedInvocation"]


@short_tracebacks
@attrs.frozen
class QueuedInvocation:
    """Asynchronous inference that was submitted, returned by `Endpoint.invoke_async`.

    Attributes:
        submission: Where the payload is, and where the answer will be.
    """

    submission: Submission
    _aws: Aws = attrs.field(repr=False)
    _codecs: Codecs = attrs.field(repr=False, factory=Codecs)

    def __reduce__(self) -> tuple[Any, ...]:
        raise refuse_pickle("an invocation that waits for its answer", "pickle its `submission`")

    def result(self, *, timeout: float = 900.0, response_type: Any = None) -> Reply[Any]:
        """Wait for the answer and return it.

        Args:
            timeout: Seconds to wait. Default 900.
            response_type: Type or codec that the answer is decoded to. None leaves it as bytes.

        Returns:
            The answer.

        Raises:
            ModelServerError: The model failed.
            RowCountError: The payload was a table, and the answer has another number of rows.
            WaitTimeoutError: There is no answer yet. Call `result` again to wait longer.

        Example:
            ```python
            queued = endpoint.invoke_async(frame, upload_to="s3://ml-payloads/in/")
            reply = queued.result(timeout=3600)
            ```
        """
        flow = result_of(self._codecs, self.submission, self._aws.clock, timeout, response_type)
        return self._aws.run(flow)
