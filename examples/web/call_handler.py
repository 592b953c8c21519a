"""Call the handler for AWS Lambda as Lambda does, and measure its cold start.

Run `python examples/with_host.py python examples/web/call_handler.py`. Lambda imports the module once for each
execution environment, and then calls the handler for each event. `benchmarks/first_call.py` compares it with boto3.
"""

from __future__ import annotations

import time
from typing import Any

EVENT = {"tenant": "shop", "features": {"amount": 80}}


class Context:
    """The part of Lambda's context that the handler uses."""

    def get_remaining_time_in_millis(self) -> int:
        """Return the time that is left, in milliseconds."""
        return 30_000


def main() -> list[dict[str, Any]]:
    """Import the handler and call it twice; return the answers."""
    began = time.process_time()
    import lambda_handler

    imported = time.process_time()
    first = lambda_handler.handler(EVENT, Context())
    called = time.process_time()
    second = lambda_handler.handler(EVENT, Context())
    ended = time.process_time()
    for what, seconds in (
        ("import", imported - began),
        ("first call", called - imported),
        ("second call", ended - called),
    ):
        print(f"{what}: {1000 * seconds:.1f} ms of CPU time")
    lambda_handler.client.close()
    return [first, second]


if __name__ == "__main__":
    for answer in main():
        print(answer)
