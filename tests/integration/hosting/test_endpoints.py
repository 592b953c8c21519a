"""Endpoints as they come, change and go; single-model containers; pipelines."""

from __future__ import annotations

import asyncio
import io
import json
import sys
import tarfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import attrs
import pytest

from mme_sdk.aws.failure_hints import refusal_hint
from mme_sdk.local.containers import Command
from mme_sdk.local.hosting_interface import ContainerPlan, Deployment, HostingError
from tests.support.gates import Gate
from tests.support.hosting.harness import BARE, ECHO, Bench, error
from tests.support.hosting.waiting import WatchedClock

Hosted = Callable[..., None]


def archive(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return packed.getvalue()


def _single(bench: Bench, key: str) -> dict[str, str]:
    return {"mode": "SingleModel", "model_data_url": f"s3://{bench.bucket}/{key}"}


def test_a_single_model_endpoint(hosted: Hosted) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.upload("one/model.tar.gz")
        await bench.deploy(instances=2, **_single(bench, "one/model.tar.gz"))
        answers = await asyncio.gather(*(bench.invoke(None, "row") for _ in range(6)))
        assert {(answer.status, answer.body) for answer in answers} == {(200, b"model:row")}
        status, code, message = error(await bench.invoke("a.tar.gz"))
        assert (status, code) == (400, "ValidationError")
        assert message == "Endpoint e is not a multi-model endpoint and does not support target model header."
        assert error(await bench.invoke(None, "fault"))[:2] == (424, "ModelError")

    hosted(scenario)


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("absent.tar.gz", "Failed to download model data for container"),
        ("broken.tar.gz", "Please ensure that the object located at the URL is a valid tar.gz archive."),
        ("failing.tar.gz", "did not pass the ping health check"),
    ],
)
def test_a_single_model_that_does_not_come_up_fails_the_deployment_with_the_reason(
    hosted: Hosted, key: str, text: str
) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.put("broken.tar.gz", b"x")
        await bench.upload("failing.tar.gz", fail="yes")
        with pytest.raises(HostingError, match=text):
            await bench.deploy(**_single(bench, key))
        assert error(await bench.invoke(None))[2].endswith("not found.")

    hosted(scenario)


def test_a_failed_update_leaves_what_serves_and_a_good_one_starts_cold(hosted: Hosted) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.upload("models/a.tar.gz")
        await bench.deploy()
        assert (await bench.invoke("a.tar.gz")).status == 200
        with pytest.raises(HostingError):
            await bench.deploy(image="broken")
        assert (await bench.invoke("a.tar.gz")).status == 200
        fleet = bench.hosting.variant("e", "AllTraffic").fleet
        assert fleet.snapshot().counters.hits == 1
        await bench.deploy()
        fleet = bench.hosting.variant("e", "AllTraffic").fleet
        assert fleet.snapshot().counters.arrivals == 0
        assert (await bench.invoke("a.tar.gz")).status == 200
        assert fleet.snapshot().counters.s3_loads == 1

    hosted(scenario, images={"broken": Command(["false"])})


def test_what_runs_when_an_update_comes_is_answered_by_the_old_fleet(hosted: Hosted) -> None:
    async def scenario(bench: Bench) -> None:
        gate = Gate(bench.folder / "gate")
        await bench.upload("models/a.tar.gz")
        await bench.deploy()
        running = asyncio.create_task(bench.invoke("a.tar.gz", f"wait:{gate}"))
        fleet = bench.hosting.variant("e", "AllTraffic").fleet
        await gate.until_arrived()
        assert fleet.snapshot().instances["i-0001"].models["a.tar.gz"].running
        await bench.deploy()
        await clock.until(0.05, times=3)  # the old fleet waits for its requests
        assert not running.done()
        gate.open()
        assert (await running).status == 200

    clock = WatchedClock()
    hosted(scenario, clock=clock, isolate=False)  # the gate is outside of the folders of the model


def test_variants_share_traffic_by_weight_and_may_be_named(hosted: Hosted) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.upload("models/a.tar.gz")
        two = (bench.variant("A", weight=3.0), bench.variant("B", weight=1.0))
        await bench.hosting.deploy(Deployment(endpoint="e", config_name="c", variants=two))

        async def seen(count: int) -> Counter[str]:
            answers = [await bench.invoke("a.tar.gz") for _ in range(count)]
            return Counter(answer.headers["x-Amzn-Invoked-Production-Variant"] for answer in answers)

        counts = await seen(200)
        assert 120 < counts["A"] < 180  # 150 expected; 5 standard deviations are 31
        assert counts["B"] == 200 - counts["A"]
        await bench.hosting.reweigh("e", {"A": 0.0})
        assert await seen(20) == {"B": 20}
        answer = await bench.invoke("a.tar.gz", x_amzn_sagemaker_target_variant="A")
        assert answer.headers["x-Amzn-Invoked-Production-Variant"] == "A"
        with pytest.raises(HostingError, match="has no running variant C"):
            await bench.hosting.reweigh("e", {"A": 1.0, "C": 1.0})

    hosted(scenario)


def test_scaling_out_and_in_loses_no_request(hosted: Hosted) -> None:
    async def scenario(bench: Bench) -> None:
        for name in "abcd":
            await bench.upload(f"models/{name}.tar.gz")
        await bench.deploy()
        done = False
        answers = []

        async def traffic() -> None:
            while not done:
                answers.extend(await asyncio.gather(*(bench.invoke(f"{name}.tar.gz") for name in "abcd")))

        task = asyncio.create_task(traffic())
        await bench.hosting.scale("e", "AllTraffic", 3)
        assert len(bench.hosting.variant("e", "AllTraffic").instances) == 3
        await bench.hosting.scale("e", "AllTraffic", 1)
        assert list(bench.hosting.variant("e", "AllTraffic").instances) == ["i-0001"]
        done = True
        await task
        assert {answer.status for answer in answers} == {200}

    hosted(scenario)


def test_scaling_out_that_fails_leaves_what_served(hosted: Hosted) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.upload("models/a.tar.gz")
        await bench.deploy(image="few", environment={"ALLOWED": "2", "COUNT": str(bench.folder / "count")})
        with pytest.raises(HostingError, match="did not pass the ping health check"):
            await bench.hosting.scale("e", "AllTraffic", 4)
        assert list(bench.hosting.variant("e", "AllTraffic").instances) == ["i-0001"]
        assert (await bench.invoke("a.tar.gz")).status == 200

    # Only so many may start: mkdir is atomic.
    start = 'for i in $(seq $ALLOWED); do mkdir "$COUNT.$i" 2>/dev/null && exec "$@"; done; exit 1'
    hosted(scenario, images={"few": Command(["sh", "-c", start, "sh", *BARE.argv])})


def test_a_serial_pipeline_passes_each_answer_on(hosted: Hosted) -> None:
    async def scenario(bench: Bench) -> None:
        upper = "def model_fn(d): pass\ndef transform_fn(m, data, ct, accept): return data.upper(), 'text/x-upper'"
        tell = ECHO.replace("return str", "return content_type + '|' + str")
        await bench.upload("upper.tar.gz", script=upper)
        await bench.upload("models/tell.tar.gz", script=tell)
        containers = (
            ContainerPlan(image="python", hostname="first", **_single(bench, "upper.tar.gz")),  # type: ignore[arg-type]
            ContainerPlan(
                image="python", hostname="second", mode="MultiModel", model_data_url=f"s3://{bench.bucket}/models/"
            ),
        )
        variant = attrs.evolve(bench.variant(), containers=containers)
        await bench.hosting.deploy(Deployment(endpoint="e", config_name="c", variants=(variant,)))
        assert (await bench.invoke("tell.tar.gz", "row")).body == b"tell:text/x-upper|ROW"
        refused = await bench.invoke("tell.tar.gz", x_amzn_sagemaker_target_container_hostname="second")
        assert "TargetContainerHostname" in error(refused)[2]
        assert refusal_hint(error(refused)[2]) == "omit target_container="
        variant = attrs.evolve(variant, direct=True)
        await bench.hosting.deploy(Deployment(endpoint="e", config_name="c", variants=(variant,)))
        alone = await bench.invoke("tell.tar.gz", "row", x_amzn_sagemaker_target_container_hostname="second")
        assert alone.body == b"tell:text/plain|row"
        for refused in (
            await bench.invoke("tell.tar.gz", x_amzn_sagemaker_target_container_hostname="third"),
            await bench.invoke("tell.tar.gz"),
        ):
            assert "TargetContainerHostname" in error(refused)[2]
            assert "pass target_container=" in (refusal_hint(error(refused)[2]) or "")

    hosted(scenario)


def test_an_image_without_the_label_cannot_be_multi_model(hosted: Hosted) -> None:
    async def scenario(bench: Bench) -> None:
        with pytest.raises(HostingError, match="Your Ecr Image plain does not contain required com"):
            await bench.deploy(image="plain")

    hosted(scenario, images={"plain": Command(["true"], multi_model=False)})


def test_a_container_that_never_becomes_healthy_fails_in_time(hosted: Hosted) -> None:
    async def scenario(bench: Bench) -> None:
        with pytest.raises(HostingError, match="The primary container for production variant AllTraffic did not pass"):
            await bench.deploy(image="mute")

    hosted(scenario, images={"mute": Command(["sleep", "60"])}, startup_limit=0.2)


ENVIRONMENT = """
import os
def model_fn(d): return None
def predict_fn(data, model):
    if data == "cuda":
        raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")
    return os.environ.get("CUDA_VISIBLE_DEVICES"), os.environ.get("MME_GPU_ID")
"""


def test_gpu_instances_need_a_cuda_device_or_a_word(hosted: Hosted, monkeypatch: pytest.MonkeyPatch) -> None:
    async def deploy(bench: Bench, instances: int = 1) -> None:
        await bench.upload("models/a.tar.gz", script=ENVIRONMENT)
        variant = attrs.evolve(bench.variant(instances=instances), instance_type="ml.g5.xlarge")
        await bench.hosting.deploy(Deployment(endpoint="e", config_name="c", variants=(variant,)))

    async def without(bench: Bench) -> None:
        with pytest.raises(HostingError, match=r"ml\.g5\.xlarge has GPUs, and this machine has no CUDA device"):
            await deploy(bench)

    async def on_cpu(bench: Bench) -> None:
        await deploy(bench)
        assert json.loads((await bench.invoke("a.tar.gz", "1", content_type="application/json")).body) == [None, None]

    async def placed(bench: Bench) -> None:
        await deploy(bench, instances=2)
        (reported,) = {(await bench.invoke("a.tar.gz", "1", content_type="application/json")).body for _ in range(3)}
        assert json.loads(reported)[0] in ("0", "3")
        assert json.loads(reported)[1] == "0"
        assert "(507)" in error(await bench.invoke("a.tar.gz", '"cuda"', content_type="application/json"))[2]

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    for devices, scenario, settings in (
        ([], without, {}),
        ([], on_cpu, {"gpu_types_on_cpu": True}),
        (["0", "3"], placed, {}),
    ):
        monkeypatch.setattr("mme_sdk.local.hosting.gpus.cuda_devices", lambda devices=devices: devices)
        hosted(scenario, **settings)


def test_removing_an_endpoint_ends_its_processes(hosted: Hosted) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.deploy()
        (instance,) = bench.hosting.variant("e", "AllTraffic").instances.values()
        (pid,) = instance.pids
        await bench.hosting.remove("e")
        with pytest.raises(ProcessLookupError):
            __import__("os").kill(pid, 0)
        await bench.hosting.remove("e")
        assert json.loads((await bench.invoke("a")).body)["Message"].endswith("not found.")

    hosted(scenario)


URLS = """
import http.server, json, sys
class Server(http.server.BaseHTTPRequestHandler):
    urls = []
    def do_GET(self):
        self.answer(b"{}")
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/models":
            self.urls.append(json.loads(body)["url"])
        self.answer(self.urls[-1].encode())
    def answer(self, body):
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Server).serve_forever()
"""


def test_a_model_repository_can_have_its_configuration_at_the_top(hosted: Hosted) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.put("models/inside.tar.gz", archive({"net/config.pbtxt": b"", "net/1/model.py": b""}))
        await bench.put("models/top.tar.gz", archive({"config.pbtxt": b"", "1/model.py": b""}))
        for image, top in (("repository", "model"), ("other", "config.pbtxt")):
            await bench.deploy(image, image=image)
            for name, found in (("inside", "net"), ("top", top)):
                url = (await bench.invoke(f"{name}.tar.gz", endpoint=image)).body.decode()
                assert found in [one.name for one in Path(url).iterdir()]

    command = Command([sys.executable, "-c", URLS, "{port}"])
    hosted(scenario, images={"repository": attrs.evolve(command, model_repository=True), "other": command})


STUBBORN = """
import http.server, signal, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
class Healthy(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Healthy).serve_forever()
"""


def test_a_stopped_container_has_30_seconds_to_end_and_5_when_the_host_closes(hosted: Hosted) -> None:
    clock = WatchedClock(long=4.0)

    async def scenario(bench: Bench) -> None:
        for name in ("removed", "left"):
            await bench.deploy(name, image="stubborn")
        assert clock.count(4.0, 100.0) == 0
        await bench.hosting.remove("removed")
        assert clock.count(4.0, 100.0) == clock.count(30.0, 30.0) == 1

    images = {"stubborn": Command([sys.executable, "-c", STUBBORN, "{port}"])}
    hosted(scenario, images=images, clock=clock, metrics_seconds=3.9)  # shorter than the sleeps that are counted
    assert clock.count(5.0, 5.0) == 1


def test_the_script_comes_from_an_archive_in_s3_where_the_environment_says_so(hosted: Hosted) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.put("weights.tar.gz", archive({"weights.json": b"3"}))
        code = b"def model_fn(d): return open(d + '/weights.json').read()\ndef predict_fn(data, model): return model\n"
        await bench.put("code.tar.gz", archive({"serve.py": code}))
        where = {"SAGEMAKER_PROGRAM": "serve.py", "SAGEMAKER_SUBMIT_DIRECTORY": f"s3://{bench.bucket}/code.tar.gz"}
        await bench.deploy(**_single(bench, "weights.tar.gz"), environment=where)
        assert json.loads((await bench.invoke(None, "[1]", content_type="application/json")).body) == "3"
        absent = where | {"SAGEMAKER_SUBMIT_DIRECTORY": f"s3://{bench.bucket}/absent.tar.gz"}
        with pytest.raises(HostingError, match=r'from URL: "s3://[^"]+/absent\.tar\.gz"'):
            await bench.deploy(**_single(bench, "weights.tar.gz"), environment=absent)

    hosted(scenario)
