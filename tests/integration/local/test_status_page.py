"""The status page: its files, its policy, who reads the texts of containers, and names that are HTML."""

from __future__ import annotations

import asyncio
import http.client
import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from mme_sdk.local import Fault, Faults, LocalSageMaker
from mme_sdk.local.http.admin_api import AdminApi
from tests.support.local.browser import CHROMIUM, browsed
from tests.support.local.helpers import make_endpoint
from tests.support.local.raw import signature
from tests.unit.cli.test_top import host_data

SECRET = "could not read '4111 1111 1111 1111'"
EVIL = "<img src=x onerror=document.title='evil'>\"'&</script>.tar.gz"
WIDER = """[...document.querySelectorAll('body *')].filter(one => !one.closest('.wide, .skip')
    && one.getBoundingClientRect().right > innerWidth).map(one => one.outerHTML.slice(0, 80))"""
FILES = {"": "text/html", "status.js": "text/javascript", "charts.js": "text/javascript", "status.css": "text/css"}


def get(plane: LocalSageMaker, path: str, headers: dict[str, str] | None = None) -> tuple[int, Any, str]:
    connection = http.client.HTTPConnection("127.0.0.1", plane.port)
    connection.request("GET", path, headers=headers or {})
    answer = connection.getresponse()
    status, found, body = answer.status, dict(answer.getheaders()), answer.read().decode()
    connection.close()
    return status, found, body


@pytest.fixture(scope="module")
def files(plane: LocalSageMaker) -> dict[str, tuple[dict[str, str], str]]:
    found = {name: get(plane, f"/_mme/{name}") for name in FILES}
    assert [status for status, _, _ in found.values()] == [200] * 4
    return {name: (headers, body) for name, (_, headers, body) in found.items()}


def test_the_policy_of_each_file_allows_nothing_inline_and_nothing_of_another_site(
    files: dict[str, tuple[dict[str, str], str]],
) -> None:
    for name, (headers, _) in files.items():
        assert headers["Content-Type"] == f"{FILES[name]}; charset=utf-8"
        policy = dict(one.strip().split(" ", 1) for one in headers["Content-Security-Policy"].split(";"))
        assert policy["default-src"] == policy["form-action"] == policy["base-uri"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
        assert policy["require-trusted-types-for"] == "'script'"


def test_the_page_has_no_external_and_no_inline_part_and_sets_no_html(
    files: dict[str, tuple[dict[str, str], str]],
) -> None:
    page, code = files[""][1], files["status.js"][1] + files["charts.js"][1]
    assert set(re.findall(r"""(?:src|href)="([^"#]+)""", page)) == {"status.css", "charts.js", "status.js", "data:,"}
    assert not re.search(r"<style|<script(?! src=)| style=| on[a-z]+=", page)
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\b|new Function|setTimeout\(['\"]", code
    )
    assert not re.search(r"(?:https?:)?//(?!www\.w3\.org/2000/svg)[a-z]+\.", code + page)
    assert not re.search(r"localStorage|sessionStorage|indexedDB|document\.cookie", code)


@pytest.fixture
def failed(plane: LocalSageMaker, name: str) -> Iterator[str]:
    """An endpoint with an error of a container and one of the host."""
    plane.faults.clear()
    sagemaker, runtime = (
        plane.boto(one, config=Config(retries={"total_max_attempts": 1})) for one in ("sagemaker", "sagemaker-runtime")
    )
    make_endpoint(sagemaker, name)
    plane.faults.add(Fault(kind="error", endpoint=name, code="ModelError", status=424, message=SECRET, times=1))
    plane.faults.add(Fault(kind="error", endpoint=name, code="ValidationError", status=400, message="plain", times=1))
    for _ in range(2):
        with pytest.raises(ClientError):
            runtime.invoke_endpoint(EndpointName=name, TargetModel=EVIL.replace("\"'&", ""), Body=b"")
    plane.faults.clear()  # their messages are in the status data for everybody
    yield name
    sagemaker.close()
    runtime.close()


def test_only_the_keys_of_the_host_show_the_text_of_a_container(plane: LocalSageMaker, failed: str) -> None:
    status, _, body = get(plane, "/_mme/status")
    assert status == 200
    assert SECRET not in body
    errors = {one["code"]: one["message"] for one in json.loads(body)["errors"] if one["endpoint"] == failed}
    assert errors == {"ModelError": None, "ValidationError": "plain"}

    own = signature(plane, "GET", "/_mme/status", b"", {}, "sagemaker")
    status, _, body = get(plane, "/_mme/status", own)
    found = json.loads(body)
    messages = [one["message"] for one in found["errors"] if one["endpoint"] == failed]
    assert (status, messages) == (200, ["plain", SECRET])
    assert SECRET in [one["message"] for one in found["requests"]]
    assert plane.status()["errors"] == found["errors"]

    wrong = {**own, "Authorization": own["Authorization"][:-1] + ("0" if own["Authorization"][-1] != "0" else "1")}
    assert get(plane, "/_mme/status", wrong)[0] == 403
    request = AWSRequest(method="GET", url=f"{plane.endpoint_url}/_mme/status")
    SigV4Auth(Credentials("AKIDSTRANGER", "secret"), "sagemaker", plane.region).add_auth(request)
    status, _, body = get(plane, "/_mme/status", dict(request.headers))
    assert (status, SECRET in body) == (403, False)
    elsewhere = {**own, "Origin": "http://evil.example"}
    assert get(plane, "/_mme/status", elsewhere)[0] == 403


class _Page:
    """The admin API alone, with data of a test."""

    def __init__(self, data: dict[str, Any]) -> None:
        self._api = AdminApi(Faults(), lambda: data)
        self._started, self._end = threading.Event(), asyncio.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))

    async def _serve(self) -> None:
        async def handle(request: web.BaseRequest) -> web.StreamResponse:
            headers = {name.lower(): value for name, value in request.headers.items()}
            return await self._api.handle(request, headers, None, None)  # type: ignore[arg-type]

        self._loop = asyncio.get_running_loop()
        runner = web.ServerRunner(web.Server(handle))
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}/_mme/"
        self._started.set()
        await self._end.wait()
        await runner.cleanup()

    def __enter__(self) -> _Page:
        self._thread.start()
        self._started.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join()


def hostile() -> dict[str, Any]:
    """Status data whose every text is HTML."""
    text = json.dumps(
        host_data() | {"region": "us-east-1", "duplicates": 0, "requests": [], "fault_kinds": ["throttle"]}
    )
    data = json.loads(text.replace(json.dumps("a\x1b[31m\x07\r\n<script>.tar.gz"), json.dumps(EVIL)))
    for one in data["endpoints"][0]["variants"][0]["instances"]:
        one["counters"] = {"arrivals": 8, "hits": 6, "evictions": 1}
        one.setdefault("pids", [1])
    data["endpoints"][0] |= {"name": EVIL, "reason": EVIL, "config": EVIL}
    data["errors"][0] |= {"message": EVIL, "code": EVIL, "endpoint": EVIL}
    data["events"] = [{"at": data["now"], "endpoint": EVIL, "status": EVIL, "reason": EVIL}]
    fault = dict.fromkeys(("kind", "operation", "endpoint", "model"), EVIL)
    data["faults"] = {EVIL: fault | {"matched": 1, "triggered": 1}}
    return data


@pytest.mark.slow  # starts a browser
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium")
def test_names_that_are_html_stay_text_and_arrow_keys_move_between_models(tmp_path: Path) -> None:
    async def look(url: str) -> None:
        async with browsed(url, tmp_path, width=400) as tab:
            await tab.until("document.querySelectorAll('.tiles .tile').length === 3")
            assert (await tab.run("document.body.innerText")).count("<img src=x onerror=") >= 8
            assert await tab.run("[document.images.length, document.title]") == [0, "Embedded SageMaker"]
            assert await tab.run(WIDER) == []  # nothing is wider than the screen
            await tab.run("document.querySelector('.tiles .tile').focus()")
            for kind in ("keyDown", "keyUp"):
                await tab.call("Input.dispatchKeyEvent", type=kind, key="ArrowRight", code="ArrowRight")
            assert (await tab.run("document.activeElement.getAttribute('aria-label')")).startswith("b: on disk")
            await tab.run("show(shown)")
            assert (await tab.run("document.activeElement.getAttribute('aria-label')")).startswith("b: on disk")
            await tab.run("document.querySelector('.tiles .tile').click()")
            assert await tab.run("document.getElementById('model-title').textContent") == EVIL
            assert tab.errors == []

    with _Page(hostile()) as page:
        asyncio.run(look(page.url))


@pytest.mark.slow  # starts a browser
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium")
def test_the_page_signs_faults_and_reads_logs_and_texts_with_the_keys(
    plane: LocalSageMaker, failed: str, tmp_path: Path
) -> None:
    def enter(secret: str) -> str:
        return (
            f"document.getElementById('access').value = {plane.credentials.access_key!r};"
            f"document.getElementById('secret').value = {secret!r};"
            "document.getElementById('keys-form').requestSubmit()"
        )

    async def operate() -> None:
        async with browsed(f"{plane.endpoint_url}/_mme/", tmp_path) as tab:
            await tab.until("document.querySelectorAll('#errors tr').length > 0")
            assert SECRET not in await tab.run("document.body.innerText")
            await tab.run("document.getElementById('fault-kind').value = 'slow_load'")
            await tab.run("document.getElementById('fault-seconds').value = '1.5'")
            await tab.run("document.getElementById('inject').requestSubmit()")
            assert await tab.run("document.getElementById('keys').open")
            await tab.run(enter("wrong"))
            await tab.until("document.getElementById('keys-said').textContent.includes('does not match')")
            assert plane.faults.list() == {}
            await tab.run(enter(plane.credentials.secret_key))
            await tab.until("document.getElementById('faults').children.length === 1")
            (fault,) = plane.faults.list().values()
            assert (fault["kind"], fault["seconds"]) == ("slow_load", 1.5)
            assert SECRET in await tab.run("document.getElementById('errors').innerText")
            assert await tab.run("document.getElementById('secret').value") == ""
            await tab.run("document.querySelector('#faults button').click()")
            await tab.until("document.getElementById('faults').children.length === 0")
            assert plane.faults.list() == {}
            await tab.run(f"openModel({failed!r}, null)")
            await tab.until("document.getElementById('log').textContent.includes('log group does not exist')")
            assert tab.errors == []

    asyncio.run(operate())
