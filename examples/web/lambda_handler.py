"""A handler for AWS Lambda in front of a multi-model endpoint: `lambda_handler.handler`.

The client is created once for each execution environment. The deadline of a call ends before the time limit of the
function, so that the handler answers in any case.
"""

from __future__ import annotations

import json
import os
from typing import Any

from mme_sdk import MMEClient
from mme_sdk.errors import DeadlineError, ModelNotFoundError, ThrottledError

client = MMEClient()
endpoint = client.endpoint(os.environ.get("ENDPOINT", "scoring"))


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Answer an event `{"tenant": …, "features": …}`."""
    left = context.get_remaining_time_in_millis() / 1000 - 0.5
    if left <= 0:
        return _answer(503, {"error": "the function has no time left"})
    try:
        reply = endpoint.invoke(event["features"], model=f"{event['tenant']}/v1.tar.gz", deadline=left)
    except ModelNotFoundError:
        return _answer(404, {"error": f"there is no model of {event['tenant']}"})
    except (DeadlineError, ThrottledError) as error:
        return _answer(503, {"error": "try again"}) | {"headers": {"Retry-After": str(int(error.retry_after or 5))}}
    return _answer(200, reply.value)


def _answer(status: int, body: Any) -> dict[str, Any]:
    return {"statusCode": status, "body": json.dumps(body)}
