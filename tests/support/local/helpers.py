"""Create models, configurations and endpoints."""

from __future__ import annotations

import io
import tarfile

from tests.support.local.waiting import wait_until

MULTIPLY = (
    "import json\n"
    "def model_fn(folder): return {factor}\n"
    "def input_fn(body, kind): return json.loads(body)\n"
    "def predict_fn(numbers, factor): return [factor * one for one in numbers]\n"
    "def output_fn(numbers, kind): return json.dumps(numbers)\n"
)
ROLE = "arn:aws:iam::123456789012:role/SageMaker"
TERMINAL = ("InService", "Failed", "UpdateRollbackFailed")


def archive(factor: int, *, padding: bytes = b"", files: dict[str, bytes] | None = None) -> bytes:
    """Return a model archive whose model multiplies a JSON list of numbers, or one with other files."""
    files = files or {"code/inference.py": MULTIPLY.format(factor=factor).encode(), "padding": padding}
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return packed.getvalue()


def make_model(sm, name: str, **container) -> str:
    primary = {"Image": "python", "Mode": "MultiModel", "ModelDataUrl": "s3://bucket/prefix/"} | container
    sm.create_model(ModelName=name, PrimaryContainer=primary, ExecutionRoleArn=ROLE)
    return name


def make_config(sm, name: str, *, model: str | None = None, **variant) -> str:
    one = {
        "VariantName": "AllTraffic",
        "ModelName": model or name,
        "InstanceType": "ml.m5.large",
        "InitialInstanceCount": 1,
    }
    sm.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[one | variant])
    return name


def make_endpoint(sm, name: str, **container) -> dict:
    make_model(sm, name, **container)
    make_config(sm, name)
    sm.create_endpoint(EndpointName=name, EndpointConfigName=name)
    return settle(sm, name)[-1]


def settle(sm, name: str, until=TERMINAL) -> list[dict]:
    """Wait until the endpoint has a status in `until`. Return its descriptions, one for each status."""
    seen: list[dict] = []

    def settled() -> bool:
        now = sm.describe_endpoint(EndpointName=name)
        if seen and seen[-1]["EndpointStatus"] == now["EndpointStatus"]:
            seen.pop()
        seen.append(now)
        return now["EndpointStatus"] in until

    wait_until(settled, f"a status of {name} in {until}")
    return seen
