"""A worker process that shares state with others; run as a process of its own.

python shared_worker.py '<config as JSON>'

It says that it is ready, waits for a line, sends its items as a batch, and says what came of them.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import boto3

from mme_sdk import MMEClient, Timeouts
from mme_sdk.runtime import AttemptMade, BatchSettings, Memory, Shared

CONFIG: dict[str, Any] = json.loads(sys.argv[1])


def say_refused(acquire: Any) -> Any:
    """Return a function that acquires a lease, and says when another process first holds it."""
    said: list[bool] = []

    def wrapped(*arguments: Any, **keywords: Any) -> Any:
        acquired = yield from acquire(*arguments, **keywords)
        if not acquired and not said:
            said.append(True)
            print("refused", flush=True)
        return acquired

    return wrapped


def main() -> None:
    attempts: list[str | None] = []

    def count(event: Any) -> None:
        if isinstance(event, AttemptMade):
            attempts.append(event.attempt.code)

    memory = Memory(shared=Shared(CONFIG["shared"], rate=CONFIG["rate"]) if CONFIG["shared"] else None)
    if CONFIG["says_refused"] and memory.leases is not None:
        memory.leases.acquire = say_refused(memory.leases.acquire)  # type: ignore[method-assign]
    session = boto3.Session(
        aws_access_key_id=CONFIG["key"], aws_secret_access_key=CONFIG["secret"], region_name="us-east-1"
    )
    with MMEClient(
        session=session, endpoint_url=CONFIG["urls"], memory=memory, hooks=[count], timeouts=Timeouts(deadline=300)
    ) as client:
        endpoint = client.endpoint("scoring")
        if CONFIG["warm"]:
            endpoint.invoke(0, model=CONFIG["model"])
        print("ready", flush=True)
        sys.stdin.readline()
        began = time.monotonic()
        results: list[Any] = []
        for result in endpoint.invoke_many(
            range(CONFIG["items"]),
            model_of=lambda _: CONFIG["model"],
            settings=BatchSettings(max_concurrency=CONFIG["threads"]),
        ):
            results.append(result)
            if len(results) == CONFIG["says_at"]:
                print("reached", flush=True)
        took = time.monotonic() - began
        facts = {
            "failed": [str(result.error) for result in results if result.error],
            "answered": sum(result.error is None for result in results),
            "throttled": attempts.count("ThrottlingException"),
            "attempts": len(attempts),
            "took": took,
            "trips": 0 if memory._link is None else memory._link.trips,
        }
        print(json.dumps(facts), flush=True)


main()
