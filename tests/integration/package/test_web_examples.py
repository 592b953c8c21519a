"""The services of examples/web answer from an endpoint of the embedded SageMaker."""

from __future__ import annotations

import asyncio
import http.client
import importlib.util
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mme_sdk import EndpointSpec
from mme_sdk.local import ControlSettings, LocalSageMaker
from tests.support.paths import ROOT

FOLDER = ROOT / "examples" / "web"
SCRIPT = """
import json

def model_fn(model_dir):
    return None

def input_fn(body, content_type):
    return json.loads(body)

def predict_fn(data, model):
    return {"amount": data["amount"], "fraud": data["amount"] > 50}

def output_fn(prediction, accept):
    return json.dumps(prediction), "application/json"
"""


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of a host with the endpoint `scoring` and the model shop/v1.tar.gz."""
    folder = tmp_path_factory.mktemp("shop")
    (folder / "code").mkdir()
    (folder / "code" / "inference.py").write_text(SCRIPT)
    with LocalSageMaker(control=ControlSettings(provisioning=0.05)) as host, host.client() as client:
        s3 = host.boto("s3")
        s3.create_bucket(Bucket="ml-models")
        s3.close()
        models = client.models("s3://ml-models/prod/")
        models.register("shop", folder, version="v1")
        role = "arn:aws:iam::123456789012:role/sagemaker"
        spec = EndpointSpec.multi_model(
            name="scoring", models=models.uri, image="own:1", instance_type="ml.m5.large", role=role
        )
        client.endpoints.create(spec)
        yield host.environ()


@pytest.fixture
def environment(account: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The variables of the account, in this process too."""
    for name, value in account.items():
        monkeypatch.setenv(name, value)
    return {**os.environ, **account, "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)])}


def load(name: str) -> Any:
    """Import a module of the folder."""
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # FastAPI resolves the annotations of the functions there
    try:
        spec.loader.exec_module(module)
    finally:
        del sys.modules[name]
    return module


class Context:
    """What Lambda passes to a handler, as far as the example uses it."""

    def __init__(self, milliseconds: int) -> None:
        self.milliseconds = milliseconds

    def get_remaining_time_in_millis(self) -> int:
        return self.milliseconds


def test_the_lambda_handler_answers(environment: dict[str, str]) -> None:
    module = load("lambda_handler")
    with module.client:
        found = module.handler({"tenant": "shop", "features": {"amount": 80}}, Context(30_000))
        assert (found["statusCode"], json.loads(found["body"])) == (200, {"amount": 80, "fraud": True})
        assert module.handler({"tenant": "bank", "features": {}}, Context(30_000))["statusCode"] == 404
        assert module.handler({"tenant": "shop", "features": {}}, Context(400))["statusCode"] == 503


async def ask_asgi(app: Any, path: str, body: bytes) -> tuple[int, Any]:
    """Send one POST to an ASGI application; return status and JSON."""
    sent: list[dict[str, Any]] = []
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http",
        "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "",
        "headers": [(b"content-type", b"application/json")], "client": None, "server": None, "state": {},
    }  # fmt: skip

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await app(scope, receive, send)
    answer = b"".join(message.get("body", b"") for message in sent[1:])
    return sent[0]["status"], json.loads(answer)


def test_the_fastapi_service_answers_and_closes_its_client(environment: dict[str, str]) -> None:
    pytest.importorskip("fastapi")
    app = load("fastapi_service").app

    async def run() -> None:
        async with app.router.lifespan_context(app):
            body = json.dumps({"amount": 20}).encode()
            assert await ask_asgi(app, "/shop/score", body) == (200, {"amount": 20, "fraud": False})
            assert (await ask_asgi(app, "/bank/score", body))[0] == 404
            assert (await ask_asgi(app, "/shop/score", b"[]"))[0] == 422

    asyncio.run(run())


class UnixConnection(http.client.HTTPConnection):
    """A connection to a server on a unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=60)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(60)
        self.sock.connect(str(self.path))


def test_the_flask_service_answers_from_forked_workers(environment: dict[str, str], tmp_path: Path) -> None:
    pytest.importorskip("gunicorn")
    place = tmp_path / "gunicorn.sock"
    command = [sys.executable, "-m", "gunicorn", "--preload", "--workers", "2", "--bind", f"unix:{place}"]
    command += ["--chdir", str(FOLDER), "flask_service:app"]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as server:
        assert server.stdout is not None
        try:
            seen = []
            while not any("Listening at" in line for line in seen):
                seen.append(server.stdout.readline())
                assert seen[-1], f"gunicorn ended: {seen}"
            for amount in (80, 20, 80, 20):
                connection = UnixConnection(place)
                connection.request(
                    "POST", "/shop/score", json.dumps({"amount": amount}), {"Content-Type": "application/json"}
                )
                answer = connection.getresponse()
                assert (answer.status, json.loads(answer.read())["fraud"]) == (200, amount > 50)
                connection.close()
        finally:
            server.terminate()
            server.communicate(timeout=60)
    assert server.returncode == 0
