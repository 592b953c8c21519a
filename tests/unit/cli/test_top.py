"""`mme top`: what it reads from either source, and what it draws."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import attrs
import pytest
from rich.console import Console

from mme_sdk.cli.__main__ import main
from mme_sdk.cli.screens import reading, top
from mme_sdk.cli.screens.drawing import drawn, printable, sparkline
from mme_sdk.cli.screens.figures import Figures, ModelFigures, VariantFigures
from mme_sdk.endpoints.state.description import EndpointDescription, VariantDescription
from mme_sdk.errors import EndpointNotFoundError, ServiceError
from mme_sdk.metrics import EndpointMetrics, Series

NOW = datetime(2026, 3, 4, 12, 0, 30, tzinfo=UTC)
URL = "http://127.0.0.1:4567"
EVIL = "a\x1b[31m\x07\r\n<script>.tar.gz"
COUNTERS = {"arrivals": 8, "hits": 6}
NONE = [0] * 58


def host_data() -> dict[str, Any]:
    copy = {"state": "loaded", "memory_bytes": 10, "disk_bytes": 10, "waiting": 0, "running": 0}
    instance = {"outstanding": 1, "loads_queued": 2, "draining": False, "counters": COUNTERS}
    counts = {"requests": [4, 6], "hits": [1, 5], "misses": [3, 1], "loads": [3, 0], "evictions": [2, 0]}
    counts |= {"cold": [1, 1], "cold_seconds": [3.0, 1.0], "load_seconds": [1.0, 0], "errors_4xx": [0, 1]}
    line = {name: [*NONE, *values] for name, values in {**counts, "errors_5xx": [0, 2]}.items()}
    variant = {
        "name": "AllTraffic",
        "instance_type": "ml.m5.large",
        "memory_bytes": 100,
        "timeline": {"start": 0, "seconds": 60, **line},
        "instances": [
            {"id": "i-1", "memory_used": 50, "models": {EVIL: copy, "b": {**copy, "state": "on_disk"}}, **instance},
            {"id": "i-2", "memory_used": 0, "models": {EVIL: {**copy, "waiting": 3}}, **instance},
            {"id": "i-3", "pids": []},
        ],
    }
    error = {"operation": "InvokeEndpoint", "endpoint": "e", "model": EVIL, "status": 424, "code": "ModelError"}
    error |= {"message": None, "count": 2, "at": NOW.isoformat()}
    endpoint = {"name": "e", "status": "InService", "config": "c", "reason": None, "variants": [variant]}
    return {
        "now": NOW.isoformat(),
        "endpoints": [{**endpoint, "requests_per_minute": {EVIL: 3.5}}],
        "errors": [error, {**error, "endpoint": "other"}],
    }


@pytest.fixture
def data(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the host answers. A test may change it."""
    found = host_data()
    monkeypatch.setattr(reading, "_get", lambda _url: json.loads(json.dumps(found)))
    monkeypatch.setenv("AWS_ENDPOINT_URL", URL)
    return found


def text(figures: Figures, width: int = 120) -> str:
    console = Console(file=io.StringIO(), width=width, highlight=False)
    console.print(drawn(figures))
    return str(console.file.getvalue())  # type: ignore[attr-defined]


def test_the_figures_of_a_host_are_sums_over_the_minutes(data: dict[str, Any]) -> None:
    seen = reading.from_host(URL, "e", minutes=60)
    (variant,) = seen.variants
    assert (variant.requests, variant.cold, variant.loads, variant.evictions) == (10, 4, 3, 2)
    assert (variant.hit_ratio, variant.wait, variant.errors_4xx, variant.errors_5xx) == (0.6, 2.0, 1, 2)
    assert [(one.name, one.loaded, one.memory, one.hit_ratio) for one in variant.instances] == [
        ("i-1", 1, 0.5, 0.75), ("i-2", 1, 0.0, 0.75)
    ]  # fmt: skip
    assert [(one.name, one.requests_per_minute, one.waiting) for one in seen.models] == [(EVIL, 3.5, 3), ("b", 0, 0)]
    assert seen.models[0].states == {"i-1": "loaded", "i-2": "loaded"}
    assert [(one.code, one.count) for one in seen.errors] == [("ModelError", 2)]
    last = reading.from_host(URL, "e", minutes=1).variants[0]
    assert (last.requests, last.hit_ratio, last.cold) == (6, 5 / 6, 1)
    assert last.timeline["requests"] == (6,)


def test_a_host_without_the_endpoint_or_of_another_version_is_named(data: dict[str, Any]) -> None:
    with pytest.raises(EndpointNotFoundError, match="'absent' does not exist on the host"):
        reading.from_host(URL, "absent", minutes=60)
    del data["endpoints"][0]["variants"][0]["timeline"]["hits"]
    with pytest.raises(ServiceError, match="status data of this version"):
        reading.from_host(URL, "e", minutes=60)


@pytest.mark.parametrize(
    "url",
    [
        None,
        "",
        "https://127.0.0.1",
        "http://runtime.sagemaker.example",
        "http://10.0.0.1",
        "ftp://localhost",
        "e",
        "http://127.0.0.1:port",
        "http://127.0.0.1:99999",
        "http://[::1",
        "http://",
    ],
)
def test_only_a_loopback_address_is_asked_for_status_data(url: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_url: str) -> None:
        raise AssertionError

    monkeypatch.setattr(reading, "_get", fail)
    assert not reading.answers(url)


def metrics(**values: Mapping[int, float]) -> EndpointMetrics:
    def series(name: str) -> Series:
        points = values.get(name, {})
        times = tuple(NOW.replace(second=0) - timedelta(minutes=ago) for ago in sorted(points, reverse=True))
        return Series(times, tuple(points[ago] for ago in sorted(points, reverse=True)))

    names = [field.name for field in attrs.fields(EndpointMetrics)][5:]
    known: Any = {name: series(name) for name in names}
    return EndpointMetrics(
        endpoint="e", variant="v", start=NOW - timedelta(hours=1), end=NOW, period=60, **known
    )  # fmt: skip


def client(found: EndpointMetrics) -> Any:
    seen = EndpointDescription(
        name="e", status="InService", config_name="c",
        variants=(VariantDescription(name="v", instance_type="ml.m5.large", instance_count=2),), notes=("no tags",),
    )  # fmt: skip
    handle = SimpleNamespace(describe=lambda: seen, metrics=lambda **_: found)
    return SimpleNamespace(endpoint=lambda _name: handle)


def test_cloudwatch_shows_its_own_values_and_says_what_it_lacks() -> None:
    found = metrics(
        invocations={3: 100.0, 2: 300.0}, cache_hit={3: 0.5, 2: 0.9}, loading_wait={3: 4.0, 2: 2.0}, loads={3: 7.0},
        unloads={2: 5.0}, loaded_models={2: 12.0}, memory={2: 61.0},
    )  # fmt: skip
    seen = reading.from_cloudwatch(client(found), "e", minutes=60)
    (variant,) = seen.variants
    assert (variant.requests, variant.hit_ratio, variant.cold) == (400, 0.8, 80)
    assert (variant.wait, variant.loading_wait, variant.loads, variant.evictions) == (None, 3.0, 7, 5)
    assert (variant.loaded_models, variant.memory, variant.cpu) == (12.0, 61.0, None)
    assert len(variant.timeline["requests"]) == 60
    assert variant.timeline["requests"][-4:] == (100.0, 300.0, None, None)
    assert (seen.models, variant.instances) == ((), ())
    shown = text(seen)
    assert "source: CloudWatch and DescribeEndpoint, last minute 11:58 UTC" in shown
    assert "no values of single models or instances" in shown
    assert "no tags" in shown
    assert "400, max 300" in shown


def test_cloudwatch_without_data_shows_no_zero_in_place_of_what_it_does_not_tell() -> None:
    (variant,) = reading.from_cloudwatch(client(metrics()), "e", minutes=5).variants
    assert (variant.hit_ratio, variant.cold, variant.loading_wait, variant.loaded_models) == (None, None, None, None)
    assert variant.timeline["requests"] == (None,) * 5


def test_the_screen_of_a_host_names_its_source_and_no_control_character_reaches_the_terminal(
    data: dict[str, Any],
) -> None:
    data["endpoints"][0]["reason"] = "[bold]\x1b]0;title\x07"
    seen = reading.from_host(URL, "e", minutes=60)
    shown = text(attrs.evolve(seen, problem="gone\x1b[2J"))
    assert not [one for one in shown if not one.isprintable() and one != "\n"]
    assert f"status data of the embedded SageMaker at {URL}" in shown
    assert "60.0%" in shown
    assert "a\\x1b[31m\\x07\\x0d\\x0a<script>.tar.gz" in shown
    assert "[bold]\\x1b]0;title" in shown
    assert "The data is not current: gone\\x1b[2J" in shown
    for width in (20, 80):
        assert text(seen, width)


def test_many_models_are_counted_and_not_listed() -> None:
    models = tuple(
        ModelFigures(name=f"m{n}", variant="v", requests_per_minute=1, memory_bytes=1, states={}, waiting=0)
        for n in range(100)
    )  # fmt: skip
    seen = Figures(
        endpoint="e", status="Failed", reason=None, config=None, at=NOW, minutes=1, source="s", models=models
    )  # fmt: skip
    assert "… 85 more models" in text(seen)


def test_a_bar_has_a_character_for_each_minute() -> None:
    assert sparkline([0, None, 5, 10]) == "▁ ▅█"
    assert sparkline([0.5, 1.0], share=True) == "▅█"
    assert sparkline([0.0, 0.0]) == "▁▁"
    assert printable("x" * 100, 10) == "xxxxxxxxx…"


def test_once_writes_text_or_one_json_object(data: dict[str, Any], capsys: Any) -> None:
    assert main(["top", "e", "--once"]) == 0
    assert "AllTraffic requests" in capsys.readouterr().out
    assert main(["top", "e", "--once", "--json", "--minutes", "1"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["endpoint"], found["minutes"], found["variants"][0]["requests"]) == ("e", 1, 6)
    assert found["models"][0]["name"] == EVIL
    assert main(["top", "absent", "--once", "--json"]) == 1
    assert json.loads(capsys.readouterr().err)["error"] == "EndpointNotFoundError"
    assert main(["top", "e", "--minutes", "61"]) == 64


def test_a_host_that_is_asked_for_needs_an_address(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    assert main(["top", "e", "--source", "host"]) == 64
    assert "--endpoint-url" in capsys.readouterr().err
    for url in ("https://127.0.0.1", "http://127.0.0.1:port"):
        assert main(["top", "e", "--source", "host", "--endpoint-url", url]) == 1
        assert "is not the address of an embedded SageMaker" in capsys.readouterr().err

    def refuse(*_: object) -> None:
        raise ConnectionRefusedError("refused")

    monkeypatch.setattr(reading.HTTPConnection, "request", refuse)
    assert main(["top", "e", "--source", "host", "--endpoint-url", URL]) == 1
    assert "does not answer" in capsys.readouterr().err


def test_an_interval_that_nothing_would_use_is_refused(data: dict[str, Any], capsys: Any) -> None:
    for more in (["--once"], ["--once", "--json"], []):  # the output of the last one is not a terminal
        assert main(["top", "e", "--interval", "5", *more]) == 64
        assert "--interval needs a terminal or --json" in capsys.readouterr().err


def test_json_without_once_is_an_object_a_line_until_ctrl_c(
    data: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    waited: list[float] = []

    def pause(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(top, "_pause", pause)
    assert main(["top", "e", "--json"]) == 130
    assert len([json.loads(line) for line in capsys.readouterr().out.splitlines()]) == 3
    assert waited == [2.0] * 3


def test_the_live_screen_goes_on_after_an_error_and_ends_with_the_endpoint(
    data: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=120, height=60)
    drawing = top._rich()[0]
    monkeypatch.setattr(top, "_rich", lambda: (drawing, console))
    monkeypatch.setattr(top, "_pause", lambda _seconds: None)
    seen = reading.from_host(URL, "e", minutes=60)
    answers = iter([seen, ServiceError("Rate exceeded"), seen, EndpointNotFoundError("it is deleted")])

    def read() -> Figures:
        one = next(answers)
        if isinstance(one, Exception):
            raise one
        return one

    with pytest.raises(EndpointNotFoundError, match="it is deleted"):
        top._live(read, 2.0)
    written = console.file.getvalue()  # type: ignore[attr-defined]
    assert "Rate exceeded" in written
    assert written.rindex("AllTraffic requests") > written.rindex("Rate exceeded")


def test_a_variant_without_values_is_drawn() -> None:
    variant = VariantFigures(
        name="v", instance_type=None, instance_count=None, requests=0, hit_ratio=None, cold=None, loads=0, evictions=0,
        errors_4xx=0, errors_5xx=0,
    )  # fmt: skip
    seen = Figures(
        endpoint="e", status="Creating", reason=None, config=None, at=NOW, minutes=1, source="s", variants=(variant,)
    )
    assert "serverless" in text(seen)
