"""A program that changes a registry or an endpoint until something ends it, and reports what it left.

python stopping.py '<config as JSON>'
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import boto3

from mme_sdk import AsyncMMEClient, EndpointSpec, MMEClient, Timeouts
from mme_sdk.aws import Sleep, session
from mme_sdk.registry.operations import upload

CONFIG: dict[str, Any] = json.loads(sys.argv[1])
session.CLEANUP = CONFIG.get("cleanup", 60.0)
upload.PART = 5 << 20  # the least that S3 allows


def say(kind: str, **facts: Any) -> None:
    sys.stdout.write(json.dumps({"kind": kind, **facts}) + "\n")
    sys.stdout.flush()


def client(kind: type) -> Any:
    return kind(
        session=boto3.Session(
            aws_access_key_id=CONFIG["key"], aws_secret_access_key=CONFIG["secret"], region_name="us-east-1"
        ),
        endpoint_url=CONFIG["urls"],
        timeouts=Timeouts(read=300.0),
    )


def spec() -> EndpointSpec:
    return EndpointSpec.multi_model(
        name=CONFIG["name"],
        models="s3://gated/models/",
        image=CONFIG["image"],
        role=CONFIG["role"],
        instance_type="ml.m5.large",
    )


def start(mme: Any) -> Any:
    """Begin the work: its result, or something to await."""
    models = mme.models(CONFIG["prefix"]) if "prefix" in CONFIG else None
    match CONFIG["verb"]:
        case "register":
            return models.register("large", CONFIG["source"], "v1")
        case "register_many":
            return models.register_many({path.name: path for path in sorted(Path(CONFIG["source"]).iterdir())})
        case "sync":
            return models.sync(CONFIG["source"], alias="live")
        case "copy":
            return models.copy(CONFIG["to"])
        case "prune":
            return models.prune(keep=1)
        case "verify":
            return models.verify(CONFIG["model"], "v1")
        case "list":
            return listed(models.list()) if isinstance(mme, AsyncMMEClient) else list(models.list())
        case "create":
            return mme.endpoints.create(spec(), check=False)
        case "apply":
            return mme.endpoints.apply(spec())
        case "delete":
            return mme.endpoints.delete(CONFIG["name"])
        case "wait":
            return mme.endpoint(CONFIG["name"]).wait()
        case "sleep":
            flow = slept()
            return mme._aws.arun(flow) if isinstance(mme, AsyncMMEClient) else mme._aws.run(flow)
        case "stream":
            return streamed_async(mme) if isinstance(mme, AsyncMMEClient) else streamed(mme)
    raise AssertionError(CONFIG["verb"])


def slept() -> Any:
    say("sleeps")
    yield Sleep(3600)


async def listed(models: Any) -> list[Any]:
    return [one async for one in models]


def streamed(mme: Any) -> None:
    with mme.endpoint("single").invoke_stream(b"x", content_type="text/plain") as stream:
        for chunk in stream:
            say("chunk", data=chunk.decode())


async def streamed_async(mme: Any) -> None:
    async with await mme.endpoint("single").invoke_stream(b"x", content_type="text/plain") as stream:
        async for chunk in stream:
            say("chunk", data=chunk.decode())


def still_running(names: tuple[str, ...]) -> list[str]:
    """Threads of these names that do not end; one that has been woken needs its turn to end."""
    found = [one for one in threading.enumerate() if one.name.startswith(names)]
    for thread in found:
        thread.join(60.0)
    return [one.name for one in found if one.is_alive()]


def left() -> dict[str, Any]:
    """Threads, sockets and temporary files that are still there."""
    gc.collect()
    threads = still_running(("mme_sdk", "mme-sdk"))
    sockets = files = 0
    for descriptor in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            name = str(descriptor.readlink())
            sockets += name.startswith("socket:")
            files += "(deleted)" in name
    return {"threads": threads, "sockets": sockets, "files": files}


def report(stop: BaseException | None) -> dict[str, Any]:
    partial = getattr(stop, "partial", None)
    notes: list[str] = []
    one = stop
    while one is not None:
        notes += getattr(one, "__notes__", [])
        one = one.__context__
    return {
        "by": type(stop).__name__,
        "partial": None if partial is None else [version.name for version in partial],
        "notes": notes,
    }


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
    mme = client(MMEClient)
    if CONFIG.get("close"):
        closer = threading.Thread(target=lambda: (sys.stdin.readline(), mme.close()))
        closer.start()
    say("ready")
    stop: BaseException | None = None
    try:
        start(mme)
    except BaseException as error:  # noqa: BLE001 - reported
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        stop = error
    said = report(stop)
    stop = None
    if CONFIG.get("close"):
        closer.join()
    mme.close()
    say("ended", **said, **left())


async def amain() -> dict[str, Any]:
    mme = client(AsyncMMEClient)
    task = asyncio.ensure_future(start(mme))
    say("ready")
    for _ in range(CONFIG.get("cancels", 1)):
        await asyncio.to_thread(sys.stdin.readline)
        task.cancel()
    stop: BaseException | None = None
    try:
        await task
    except BaseException as error:  # noqa: BLE001 - reported
        stop = error
    said = report(stop)
    stop = None
    del task
    await mme.close()
    return said


if __name__ == "__main__":
    if CONFIG.get("abandoned"):
        abandoned = client(MMEClient)
        threading.Thread(target=start, args=(abandoned,), daemon=True).start()
        sys.stdin.readline()
    elif CONFIG.get("async"):
        ended = asyncio.run(amain())
        time.sleep(0)
        say("ended", **ended, **left())
    else:
        main()
