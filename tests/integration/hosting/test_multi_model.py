"""A multi-model endpoint: load on first use, stay, make room, say what went wrong."""

from __future__ import annotations

import asyncio
import io
import json
import tarfile
from collections.abc import Callable
from typing import Any

import pytest

from mme_sdk.local.hosting.instances import multi_model
from mme_sdk.local.hosting_interface import Invocation
from tests.support.gates import Gate
from tests.support.hosting.harness import ECHO, UNLIMITED, Bench, error

Hosted = Callable[..., None]


def test_models_load_on_first_use_and_answer(hosted: Hosted) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.upload("models/a.tar.gz")
        await bench.upload("models/sub/b.tar.gz")
        await bench.deploy(instances=2)
        for _ in range(2):
            for model, name in (("a.tar.gz", "a"), ("sub/b.tar.gz", "b")):
                answer = await bench.invoke(model, "row", x_amzn_sagemaker_custom_attributes="t=1")
                assert (answer.status, answer.body) == (200, f"{name}:row".encode())
                assert answer.headers["Content-Type"] == "text/plain"
                assert answer.headers["x-Amzn-Invoked-Production-Variant"] == "AllTraffic"
                assert answer.headers["x-amzn-RequestId"].startswith("request-")
        # A model added later needs no change of the endpoint.
        await bench.upload("models/late.tar.gz")
        assert (await bench.invoke("late.tar.gz")).body == b"late:hi"

    hosted(scenario)


def test_keys_with_odd_characters_are_found(hosted: Hosted) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.deploy()
        for key in ("a b+c.tar.gz", "100%25=&?#;x.tar.gz", "a~'()!$@,:*.tar.gz", "deep/er/est/m.tar.gz"):
            await bench.upload(f"models/{key}")
            name = key.rpartition("/")[2].removesuffix(".tar.gz")
            assert (await bench.invoke(key)).body.decode() == f"{name}:hi"

    hosted(scenario)


def test_an_overwritten_archive_serves_its_old_bytes_while_it_is_cached(hosted: Hosted) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.upload("models/a.tar.gz")
        await bench.deploy()
        assert (await bench.invoke("a.tar.gz")).body == b"a:hi"
        await bench.upload("models/a.tar.gz", script=ECHO.replace('model + ":"', '"new:"'))
        assert (await bench.invoke("a.tar.gz")).body == b"a:hi"
        await bench.deploy()
        assert (await bench.invoke("a.tar.gz")).body == b"new:hi"

    hosted(scenario)


def test_targets_that_cannot_be_are_refused(hosted: Hosted) -> None:
    targets = {
        None: "missing a target model header",
        "": "between 1 and 1024",
        "x" * 1025: "between 1 and 1024",
        "../a.tar.gz": "Invalid target model",
        "a/../../a.tar.gz": "Invalid target model",
        "./a.tar.gz": "Invalid target model",
        "/a.tar.gz": "Invalid target model",
        " a.tar.gz": "Invalid target model",
        "a\n.tar.gz": "Invalid target model",
        "absent.tar.gz": "Failed to download model data (bucket: ",
        "x" * 1024: "Failed to download model data (bucket: ",
    }

    async def scenario(bench: Bench) -> None:
        await bench.deploy()
        for target, text in targets.items():
            status, code, message = error(await bench.invoke(target))
            assert (status, code) == (400, "ValidationError"), target
            assert text in message

    hosted(scenario)


def test_other_refusals_in_the_words_of_aws(hosted: Hosted) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.deploy()
        assert error(await bench.invoke("a", endpoint="nope"))[2] == "Endpoint nope of account 123456789012 not found."
        large = Invocation(endpoint="e", body=b"x" * 101, headers={}, request_id="r", max_payload=1000)
        assert "missing a target model" in error(await bench.hosting.invoke(large))[2]
        status, code, message = error(await bench.invoke("a", b"x" * 101))
        assert (status, code) == (413, "ValidationError")
        assert "101 bytes" in message
        assert "Variant B not found" in error(await bench.invoke("a", x_amzn_sagemaker_target_variant="B"))[2]

    hosted(scenario, max_payload=100)


def test_errors_of_the_container_become_model_errors(hosted: Hosted) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.upload("models/a.tar.gz")
        await bench.upload("models/bad.tar.gz", fail="yes")
        await bench.deploy()
        answer = await bench.invoke("a.tar.gz", "fault")
        status, code, message = error(answer)
        assert (status, code) == (424, "ModelError")
        assert message.startswith('Received server error (500) from model with message "ValueError: bad row"')
        said = json.loads(answer.body)
        assert said["OriginalStatusCode"] == 500
        assert said["OriginalMessage"] == "ValueError: bad row"
        assert said["LogStreamArn"].startswith(
            "arn:aws:logs:us-east-1:123456789012:log-group:/aws/sagemaker/Endpoints/e"
        )
        for _ in range(2):  # a failed load is tried again by the next request
            answer = await bench.invoke("bad.tar.gz")
            assert error(answer)[:2] == (424, "ModelError")
            assert json.loads(answer.body)["OriginalMessage"] == "Failed to load the model: RuntimeError: no weights"
        assert (await bench.invoke("a.tar.gz")).status == 200

    hosted(scenario)


def _tar(*members: tuple[str, bytes | None]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            if content is None:
                info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
            info.size = len(content or b"")
            tar.addfile(info, io.BytesIO(content or b""))
    return out.getvalue()


def test_archives_that_are_broken_or_unsafe_are_refused_and_the_host_goes_on(hosted: Hosted) -> None:
    archives = [
        b"not an archive",
        _tar(("../escape", b"x")),
        _tar(("/absolute", b"x")),
        _tar(("link", None)),
        _tar(("bomb", bytes(20_000_000))),
    ]

    async def scenario(bench: Bench) -> None:
        await bench.upload("models/a.tar.gz")
        await bench.deploy()
        for number, archive in enumerate(archives):
            await bench.put(f"models/evil{number}.tar.gz", archive)
            status, code, message = error(await bench.invoke(f"evil{number}.tar.gz"))
            assert (status, code) == (400, "ValidationError")
            assert "Failed to extract model data archive" in message
            assert (await bench.invoke("a.tar.gz")).status == 200
        assert not list(bench.folder.rglob("escape"))
        assert not list((bench.folder / "hosting").rglob("bomb"))

    hosted(scenario, volume_bytes=10_000_000)


def test_a_slow_load_is_429_within_the_limit_and_goes_on(hosted: Hosted) -> None:
    async def scenario(bench: Bench) -> None:
        gate = Gate(bench.folder / "gate")
        await bench.upload("models/slow.tar.gz", wait=str(gate))
        await bench.deploy()
        answers = await asyncio.gather(*(bench.invoke("slow.tar.gz") for _ in range(3)))
        assert {error(answer)[:2] for answer in answers} == {(429, "ModelNotReadyException")}
        gate.open()
        while (answer := await bench.invoke("slow.tar.gz")).status == 429:
            pass
        assert answer.body == b"slow:hi"
        counters = bench.hosting.variant("e", "AllTraffic").fleet.snapshot().counters
        assert counters.s3_loads == 1

    hosted(scenario, answer_limit=0.3, isolate=False)


def test_a_load_beyond_the_limit_fails_and_may_be_tried_again(hosted: Hosted) -> None:
    async def scenario(bench: Bench) -> None:
        gate = Gate(bench.folder / "gate")
        await bench.upload("models/slow.tar.gz", wait=str(gate))
        await bench.deploy()
        answer = await bench.invoke("slow.tar.gz")
        assert error(answer)[:2] == (424, "ModelError")
        assert "Loading the model took more than 0.4 seconds" in json.loads(answer.body)["OriginalMessage"]
        gate.open()
        while (answer := await bench.invoke("slow.tar.gz")).status != 200:  # a busy machine may take longer than that
            assert "took more than 0.4 seconds" in json.loads(answer.body)["OriginalMessage"]

    hosted(scenario, load_limit=0.4, isolate=False)


def test_the_limit_of_the_wait_for_a_load_does_not_limit_the_check_of_s3(hosted: Hosted) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.upload("models/a.tar.gz")
        await bench.deploy()
        while (answer := await bench.invoke("a.tar.gz")).status == 429:
            pass
        assert answer.body == b"a:hi"
        store, loop = bench.hosting.variant("e", "AllTraffic").shared.store, asyncio.get_running_loop()
        size, checked = store.size, []

        async def slow(*given: Any, **named: Any) -> int:
            end = loop.time() + 0.02
            while loop.time() < end:
                await asyncio.sleep(0)
            checked.append(given)
            return await size(*given, **named)

        store.size = slow  # type: ignore[method-assign]
        assert (await bench.invoke("a.tar.gz")).body == b"a:hi"
        assert checked

    hosted(scenario, answer_limit=0.01, serve_deleted=False)


def test_an_s3_that_does_not_answer_is_told_from_a_model_that_loads(
    hosted: Hosted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(multi_model, "_S3_LIMIT", 0.2)

    async def scenario(bench: Bench) -> None:
        async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()
            writer.close()

        await bench.deploy()
        async with await asyncio.start_server(say_nothing, "127.0.0.1", 0) as mute:
            store = bench.hosting.variant("e", "AllTraffic").shared.store
            store.address = f"http://127.0.0.1:{mute.sockets[0].getsockname()[1]}"
            assert error(await bench.invoke("a.tar.gz"))[:2] == (530, "InternalDependencyException")
            mute.close()
        assert error(await bench.invoke("a.tar.gz"))[:2] == (400, "ValidationError")  # nobody listens there

    hosted(scenario)


def test_memory_and_volume_are_bounded_and_the_least_recently_used_leave(hosted: Hosted) -> None:
    async def scenario(bench: Bench) -> None:
        for name in "abcdef":
            await bench.upload(f"models/{name}.tar.gz", pad=1_000_000)
        await bench.deploy()
        fleet = bench.hosting.variant("e", "AllTraffic").fleet
        for name in "abcdef":
            assert (await bench.invoke(f"{name}.tar.gz")).status == 200
        on = fleet.snapshot().instances["i-0001"]
        assert set(on.loaded) <= {"e.tar.gz", "f.tar.gz"}
        assert on.memory_used <= 2_500_000
        assert on.volume_used <= 4_500_000
        volumes = bench.folder / "hosting" / "volumes"
        assert sum(path.stat().st_size for path in volumes.rglob("weights")) <= 4_500_000
        before = fleet.snapshot().counters
        assert (await bench.invoke("d.tar.gz")).body == b"d:hi"  # from the volume
        assert (await bench.invoke("a.tar.gz")).body == b"a:hi"  # from S3 again
        after = fleet.snapshot().counters
        assert after.disk_loads - before.disk_loads == 1
        assert after.s3_loads - before.s3_loads == 1

    hosted(scenario, memory_bytes=2_500_000, volume_bytes=4_500_000, memory_per_model=0, images={"python": UNLIMITED})
