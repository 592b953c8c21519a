"""Data capture: JSON lines in S3 as Model Monitor reads them, and the limits of a serverless variant."""

from __future__ import annotations

import asyncio
import base64
import json
import re
from collections.abc import Callable
from typing import Any

import attrs
import pytest

from mme_sdk.local.hosting_interface import Deployment
from tests.support.gates import Gate
from tests.support.hosting.harness import Bench, error

Hosted = Callable[..., None]
BYTES = """
def model_fn(model_dir): return None
def input_fn(data, content_type): return data
def predict_fn(data, model): return data
def output_fn(prediction, accept):
    if prediction in (b"json", "json"):
        return '{"answer": 1}', "application/json"
    return prediction, "text/csv; charset=utf-8"
"""


async def deploy(bench: Bench, script: str = BYTES, **plan: Any) -> None:
    await bench.upload("one/model.tar.gz", script=script)
    one = bench.variant(mode="SingleModel", model_data_url=f"s3://{bench.bucket}/one/model.tar.gz")
    variant = attrs.evolve(one, **plan)
    await bench.hosting.deploy(Deployment(endpoint="e", config_name="c", variants=(variant,)))


async def captured(bench: Bench, prefix: str = "captured/") -> list[tuple[str, dict[str, Any]]]:
    """Key and record of each line; every record has been written."""
    await bench.hosting._shared.capture.close()

    def read() -> list[tuple[str, dict[str, Any]]]:
        found = bench.s3.list_objects_v2(Bucket=bench.bucket, Prefix=prefix).get("Contents", [])
        bodies = [
            (one["Key"], bench.s3.get_object(Bucket=bench.bucket, Key=one["Key"])["Body"].read()) for one in found
        ]
        assert all(body.endswith(b"\n") for _, body in bodies)
        return [(key, json.loads(line)) for key, body in bodies for line in body.splitlines()]

    return await asyncio.to_thread(read)


def config(bench: Bench, **members: Any) -> dict[str, Any]:
    return {
        "InitialSamplingPercentage": 100,
        "DestinationS3Uri": f"s3://{bench.bucket}/captured/",
        "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
        "CaptureContentTypeHeader": {"CsvContentTypes": ["text/csv"], "JsonContentTypes": ["application/json"]},
        **members,
    }


def test_requests_and_answers_are_captured_in_the_documented_layout(hosted: Hosted) -> None:
    async def scenario(bench: Bench) -> None:
        await deploy(bench, capture=config(bench))
        await bench.invoke(None, "1,2\n", content_type="text/csv")
        await bench.invoke(
            None,
            "json",
            content_type="application/octet-stream",
            x_amzn_sagemaker_inference_id="id-7",
            x_amzn_sagemaker_custom_attributes="trace=7",
        )
        first, second = sorted(await captured(bench), key=lambda one: "inferenceId" in one[1]["eventMetadata"])
        key, record = first
        time = record["eventMetadata"].pop("inferenceTime")
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", time)
        folder = f"captured/e/AllTraffic/{time[:4]}/{time[5:7]}/{time[8:10]}/{time[11:13]}"
        assert re.fullmatch(rf"{folder}/\d\d-\d\d-\d\d\d-[0-9a-f-]{{36}}\.jsonl", key)
        assert re.fullmatch(r"[0-9a-f-]{36}", record["eventMetadata"].pop("eventId"))
        assert record == {
            "captureData": {
                "endpointInput": {
                    "observedContentType": "text/csv",
                    "mode": "INPUT",
                    "data": "1,2\n",
                    "encoding": "CSV",
                },
                "endpointOutput": {
                    "observedContentType": "text/csv; charset=utf-8",
                    "mode": "OUTPUT",
                    "data": "1,2\n",
                    "encoding": "CSV",
                },
            },
            "eventMetadata": {},
            "eventVersion": "0",
        }
        record = second[1]
        assert record["eventMetadata"]["inferenceId"] == "id-7"
        assert record["eventMetadata"]["customAttributes"] == ["trace=7"]
        given = record["captureData"]["endpointInput"]
        assert (given["encoding"], base64.b64decode(given["data"])) == ("BASE64", b"json")
        said = record["captureData"]["endpointOutput"]
        assert (said["encoding"], json.loads(said["data"])) == ("JSON", {"answer": 1})

    hosted(scenario)


@pytest.mark.parametrize(
    ("options", "members"),
    [
        (["Input"], {"endpointInput"}),
        (["Output"], {"endpointOutput"}),
        (["InputAndOutput"], {"endpointInput", "endpointOutput"}),
    ],
)
def test_only_what_is_asked_for_is_captured(hosted: Hosted, options: list[str], members: set[str]) -> None:
    async def scenario(bench: Bench) -> None:
        capture = config(bench, CaptureOptions=[{"CaptureMode": one} for one in options])
        del capture["CaptureContentTypeHeader"]
        await deploy(bench, capture=capture)
        await bench.invoke(None, "1", content_type="text/csv")
        ((_, record),) = await captured(bench)
        assert record["captureData"].keys() == members
        assert {one["encoding"] for one in record["captureData"].values()} == {"BASE64"}

    hosted(scenario)


def test_what_is_not_text_is_captured_in_base64(hosted: Hosted) -> None:
    async def scenario(bench: Bench) -> None:
        types = {"CsvContentTypes": ["application/x-raw"]}
        await deploy(bench, capture=config(bench, CaptureContentTypeHeader=types))
        await bench.invoke(None, b"\xff\xfe", content_type="application/x-raw")
        ((_, record),) = await captured(bench)
        given = record["captureData"]["endpointInput"]
        assert (given["encoding"], base64.b64decode(given["data"])) == ("BASE64", b"\xff\xfe")

    hosted(scenario)


def test_the_sample_is_a_part_of_the_requests_and_failures_are_not_in_it(hosted: Hosted) -> None:
    async def scenario(bench: Bench) -> None:
        await deploy(bench, capture=config(bench, InitialSamplingPercentage=50))
        for number in range(60):
            await bench.invoke(None, f"{number}", content_type="text/csv")
        numbers = [one["captureData"]["endpointInput"]["data"] for _, one in await captured(bench)]
        assert len(numbers) == len(set(numbers))
        assert 10 <= len(numbers) <= 50
        await deploy(bench, capture=config(bench, InitialSamplingPercentage=0, DestinationS3Uri=f"s3://{bench.bucket}"))
        await bench.invoke(None, "1", content_type="text/csv")
        assert await captured(bench, "e/") == []
        await deploy(
            bench,
            "def model_fn(d): return 1\ndef transform_fn(m, b, c, a): raise ValueError(b)",
            capture=config(bench, DestinationS3Uri=f"s3://{bench.bucket}"),
        )
        assert error(await bench.invoke(None, "1", content_type="text/csv"))[:2] == (424, "ModelError")
        assert await captured(bench, "e/") == []

    hosted(scenario)


def test_a_bucket_that_is_not_there_loses_records_and_no_answers(hosted: Hosted, caplog) -> None:
    async def scenario(bench: Bench) -> None:
        await deploy(bench, capture=config(bench, DestinationS3Uri="s3://nowhere-at-all/x"))
        answer = await bench.invoke(None, "1", content_type="text/csv")
        assert (answer.status, answer.body) == (200, b"1")
        await captured(bench)
        await bench.upload("one/other.tar.gz")  # S3 serves
        assert "cannot write 1 records to s3://nowhere-at-all" in caplog.text
        caplog.clear()

    hosted(scenario)


def test_a_serverless_variant_serves_no_more_requests_at_once_than_it_says(hosted: Hosted, tmp_path) -> None:
    async def scenario(bench: Bench) -> None:
        from tests.support.hosting.harness import ECHO

        gate = Gate(tmp_path / "gate")
        await deploy(bench, ECHO, max_concurrency=2, memory_bytes=2 << 30)
        assert bench.hosting.inspect()[0].memory_bytes == 2 << 30
        held = [asyncio.create_task(bench.invoke(None, f"wait:{gate}")) for _ in range(2)]
        while sum(one.outstanding for one in bench.hosting.variant("e", "AllTraffic").instances.values()) < 2:
            await asyncio.sleep(0)
        status, code, message = error(await bench.invoke(None, "now"))
        assert (status, code) == (400, "ThrottlingException")
        assert "MaxConcurrency" in message
        gate.open()
        assert [one.status for one in await asyncio.gather(*held)] == [200, 200]
        assert (await bench.invoke(None, "now")).status == 200

    hosted(scenario, readable=(str(tmp_path),))
