"""A program that invokes blocked models until something ends it, and reports what it left; run as a process of its own.

python ending.py '<config as JSON>'
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import signal
import sqlite3
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3

from mme_sdk import AsyncMMEClient, MMEClient, Timeouts
from mme_sdk.runtime import BatchSettings, FileLeases, Memory

CONFIG: dict[str, Any] = json.loads(sys.argv[1]) if len(sys.argv) > 1 else {}


class ConsumerError(Exception):
    """An error of the code that takes results."""


def say(kind: str, **facts: Any) -> None:
    # One write: other threads speak too.
    sys.stdout.write(json.dumps({"kind": kind, **facts}) + "\n")
    sys.stdout.flush()


def client(kind: type = MMEClient) -> Any:
    return kind(
        session=boto3.Session(
            aws_access_key_id=CONFIG["key"], aws_secret_access_key=CONFIG["secret"], region_name="us-east-1"
        ),
        endpoint_url=CONFIG["urls"],
        transport=CONFIG.get("transport", "auto"),
        timeouts=Timeouts(read=CONFIG.get("read", 60.0), deadline=300.0),
        memory=Memory(leases=FileLeases(CONFIG["leases"])),
        hooks=[lambda event: say("event", name=type(event).__name__)],
    )


def models() -> list[str]:
    quick, slow = [CONFIG["quick"]] * 3, [CONFIG["slow"]] * 3
    return slow + quick if CONFIG.get("slow_first") else quick + slow


def work(endpoint: Any, done: list[int]) -> Any:
    """Work that cannot come to its end, since a model's load is blocked."""
    match CONFIG["verb"]:
        case "invoke":
            return endpoint.invoke("x", model=CONFIG["slow"])
        case "warm":
            return endpoint.warm([CONFIG["quick"], CONFIG["slow"]], at_a_time=2)
        case "invoke_frame":
            import pandas as pd

            frame = pd.DataFrame({"m": models(), "n": range(6)}, index=list("abcdef"))
            return endpoint.invoke_frame(frame, model_of="m", rows_per_call=1, content_type="application/json")
        case "stuck":
            return list(endpoint.invoke_many([1], model_of=lambda _: CONFIG["slow"], data_of=stuck))
    for result in results(endpoint):
        done.append(result.index)
        say("result", index=result.index)
        if CONFIG.get("consumer") == "break" and len(done) == 3:
            break
        if CONFIG.get("consumer") == "raises" and len(done) == 3:
            raise ConsumerError
    return None


def results(endpoint: Any) -> Iterator[Any]:
    return endpoint.invoke_many(  # type: ignore[no-any-return]
        range(6),
        model_of=lambda number: models()[number],
        settings=BatchSettings(ordered=CONFIG.get("ordered", True)),
        checkpoint=CONFIG.get("checkpoint"),
    )


def stuck(_: Any) -> Any:
    say("stuck")
    threading.Event().wait()


def still_running(names: tuple[str, ...]) -> list[str]:
    """Threads of these names that do not end; one that has been woken needs its turn to end."""
    found = [one for one in threading.enumerate() if one.name.startswith(names)]
    for thread in found:
        thread.join(10.0)
    return [one.name for one in found if one.is_alive()]


def left(mme: Any) -> dict[str, Any]:
    """What is still there: threads, sockets, places in the load limiter, leases."""
    threads = still_running(("mme_sdk-batch",))
    memory = mme.memory
    endpoint = memory.endpoint(CONFIG["endpoint"])
    if isinstance(mme, MMEClient):
        mme.close()
    gc.collect()  # errors of time-outs refer to botocore's pools in cycles; urllib3 closes a pool that is collected
    sockets = 0
    for descriptor in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            sockets += str(descriptor.readlink()).startswith("socket:")
    leases = 0
    if Path(CONFIG["leases"]).exists():
        with contextlib.closing(sqlite3.connect(CONFIG["leases"])) as file:
            (leases,) = file.execute("SELECT count(*) FROM leases").fetchone()
    return {
        "threads": threads,
        "sockets": sockets,
        "permits": endpoint.load_limiter.used,
        "flights": len(memory.single_flight),
        "leases": leases,
    }


def partial_of(stop: BaseException) -> Any:
    """What an exception carries, for JSON."""
    partial = getattr(stop, "partial", None)
    match CONFIG["verb"]:
        case "warm" if partial is not None:
            return {"loaded": list(partial.loaded), "failed": [one.model for one in partial.failed]}
        case "invoke_frame" if partial is not None:
            return {"index": list(partial.index), "failed": [error is not None for error in partial["error"]]}
    return None if partial is None else [result.index for result in partial]


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
    mme = client()
    done: list[int] = []
    stop: BaseException | None = None
    say("ready")
    try:
        work(mme.endpoint(CONFIG["endpoint"]), done)
    except BaseException as error:  # noqa: BLE001 - reported
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        stop = error
    say("ended", by=type(stop).__name__, done=done, partial=None if stop is None else partial_of(stop), **left(mme))


async def amain() -> tuple[Any, dict[str, Any]]:
    mme = client(AsyncMMEClient)
    endpoint = mme.endpoint(CONFIG["endpoint"])

    async def run() -> None:
        match CONFIG["verb"]:
            case "invoke":
                await endpoint.invoke("x", model=CONFIG["slow"])
            case "warm":
                await endpoint.warm([CONFIG["quick"], CONFIG["slow"]], at_a_time=2)
            case _:
                async for result in results(endpoint):
                    done.append(result.index)
                    say("result", index=result.index)

    done: list[int] = []
    say("ready")
    task = asyncio.ensure_future(run())
    await asyncio.to_thread(sys.stdin.readline)
    task.cancel()
    stop: BaseException | None = None
    try:
        await task
    except BaseException as error:  # noqa: BLE001 - reported
        stop = error
    for _ in range(200_000):
        # A thread of botocore ends when its connection is shut down; the pool's idle threads stay until close.
        if not busy(mme):
            break
        await asyncio.sleep(0)
    await mme.close()
    facts = {"by": type(stop).__name__, "done": done, "partial": None if stop is None else partial_of(stop)}
    return mme, facts | {"busy": busy(mme)}


def busy(mme: Any) -> bool:
    """Whether a thread works for the client: more than its look into the queue."""
    frames = sys._current_frames()
    for thread in threading.enumerate():
        if thread.name.startswith("mme_sdk-aws") and thread.ident in frames:
            names = set()
            frame = frames[thread.ident]
            while frame is not None:
                names.add(frame.f_code.co_name)
                frame = frame.f_back  # type: ignore[assignment]
            if names & {"send", "_make_api_call", "_pull"}:
                return True
    return False


if __name__ == "__main__":
    if CONFIG.get("async"):
        ended, found = asyncio.run(amain())
        say("ended", **found, **left(ended))
    else:
        main()
