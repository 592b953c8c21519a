"""What a cell of a notebook can end with: a short text, and HTML that is escaped and complete."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from typing import Any

import attrs
import pandas as pd
import pytest

from mme_sdk import MMEClient, ModelVersion, Reply
from mme_sdk.aws import Aws
from mme_sdk.display import html
from mme_sdk.display.shown import Listing, Shown
from mme_sdk.endpoints import Endpoints
from mme_sdk.endpoints.operations.apply import EndpointPlan
from mme_sdk.endpoints.operations.delete import EndpointDeletion
from mme_sdk.endpoints.operations.orphans import Orphan
from mme_sdk.endpoints.operations.preflight import Finding, Preflight
from mme_sdk.endpoints.state.description import EndpointDescription, VariantDescription
from mme_sdk.endpoints.state.diff import Change
from mme_sdk.endpoints.state.resources import Resource
from mme_sdk.errors import ModelError
from mme_sdk.local.http.status import HostStatus
from mme_sdk.metrics import EndpointMetrics, Series
from mme_sdk.registry import AsyncModelRegistry, CopyReport, ModelDeletion, ModelRegistry, SyncReport
from mme_sdk.registry.alias import Alias, AliasChange
from mme_sdk.registry.versions import Page, Versions
from mme_sdk.runtime import ItemResult, WarmReport
from mme_sdk.runtime.batch.warm import WarmOutcome
from tests.support.endpoints.helpers import multi

EVIL = "<script>alert('x')</script>&\""
NOW = datetime(2026, 11, 28, 3, 5, tzinfo=UTC)
VERSION = ModelVersion(
    name="fraud",
    version="v1",
    target_model="fraud/v1.tar.gz",
    uri="s3://a/fraud/v1.tar.gz",
    size=12_300_000,
    created=NOW,
)
HOSTILE = attrs.evolve(VERSION, target_model=EVIL, name=EVIL, metadata={EVIL: EVIL})


def aws() -> Aws:
    return Aws(region="eu-west-1")


def series(count: int, unit: str = "count") -> Series:
    times = tuple(NOW + timedelta(minutes=place) for place in range(count))
    return Series(times, tuple(float(place % 7) for place in range(count)), unit)


def metrics() -> EndpointMetrics:
    names = [field.name for field in attrs.fields(EndpointMetrics)][5:]
    found = {name: series(0 if name == "disk" else 60, "s" if "latency" in name else "count") for name in names}
    return EndpointMetrics(
        endpoint="scoring", variant=EVIL, start=NOW, end=NOW + timedelta(hours=1), period=60, **found
    )


def described(name: str = "scoring", **more: Any) -> EndpointDescription:
    arn = f"arn:aws:sagemaker:eu-west-1:123456789012:endpoint/{name}"
    return EndpointDescription(name=name, status="InService", arn=arn, created=NOW, modified=NOW, **more)


def pages() -> Iterator[Page]:
    yield [VERSION] * 3, True
    yield [HOSTILE], False


STATUS = HostStatus(
    endpoints=[
        {
            "name": EVIL,
            "status": "InService",
            "config": "c",
            "reason": EVIL,
            "variants": [
                {
                    "name": "AllTraffic",
                    "instance_type": "ml.m5.large",
                    "memory_bytes": 8_000_000_000,
                    "hit_ratio": 0.625,
                    "instances": [
                        {
                            "id": "i-1",
                            "memory_used": 1e9,
                            "models": {EVIL: {"state": "loaded"}, "b.tar.gz": {"state": "loading"}},
                        },
                        {"id": "i-2", "memory_used": 2e9, "models": {"b.tar.gz": {"state": "on_disk"}}},
                    ],
                }
            ],
        }
    ]
)

SHOWN: dict[str, Any] = {
    "client": MMEClient(region="eu-west-1", endpoint_url="https://user:hunter2@proxy.example/path?token=hunter2"),
    "endpoints": Endpoints(aws(), lambda: None),  # type: ignore[arg-type, return-value]
    "handle": Endpoints(aws(), lambda: None).handle("scoring"),  # type: ignore[arg-type, return-value]
    "description": described(failure_reason=EVIL, tags={EVIL: EVIL}, notes=(EVIL,)),
    "several": described(variants=(VariantDescription(name="a", instance_type="ml.m5.large", instance_count=2),) * 9),
    "list": Listing([described(f"e{place}") for place in range(60)], "endpoints", lambda one: one._facts()),
    "orphans": Listing([Orphan(kind="model", name=EVIL)], "orphans", attrs.asdict),
    "versions": Versions("under s3://a/", pages),
    "async versions": AsyncModelRegistry(aws(), "s3://models/a/").list(),
    "registry": ModelRegistry(aws(), "s3://models/a/"),
    "version": HOSTILE,
    "alias": Alias(name="fraud", alias="live", history=(AliasChange(weights={"v1": 0.9, "v2": 0.1}, at=NOW),)),
    "spec": multi("scoring", environment={"TOKEN": "hunter2"}),
    "plan to create": EndpointPlan(spec=multi("scoring", environment={"TOKEN": "hunter2"}), action="create"),
    "plan": EndpointPlan(
        spec=multi("scoring"),
        action="update",
        changes=tuple(Change(field=f"field{place}", old=EVIL * 9, new={EVIL: 1}) for place in range(70)),
    ),
    "preflight": Preflight(tuple(Finding(subject=EVIL, verdict="failed", detail=EVIL * 20) for _ in range(9))),
    "deletion": EndpointDeletion(endpoint="e", removed=(Resource("model", EVIL),) * 30, notes=(EVIL,)),
    "warm": WarmReport(
        tuple(WarmOutcome(model=EVIL, state="failed", took=1.5, error=ModelError(EVIL)) for _ in range(9))
    ),
    "sync": SyncReport(registered={f"m{place}": "v1" for place in range(500)}),
    "copy": CopyReport(copied=(VERSION,) * 200),
    "model deletion": ModelDeletion(versions=(HOSTILE,)),
    "reply": Reply(body=json.dumps([EVIL] * 400).encode(), content_type="application/json", model=EVIL, latency=0.0123),
    "broken reply": Reply(body=b"{" + EVIL.encode(), content_type="application/json"),
    "large reply": Reply(body=b"1" * 1_000_000, content_type="application/json"),
    "reply as bytes": Reply(body=b"\x00" * 5000),
    "reply as a frame": Reply(body=b"", value=pd.DataFrame({EVIL: [EVIL] * 100})),
    "item": ItemResult(0, EVIL, error=ModelError(EVIL * 100)),
    "metrics": metrics(),
    "series": series(60),
    "empty series": series(0),
    "status": STATUS,
}
_VOID = {"br", "img", "polyline", "circle"}


class Balanced(HTMLParser):
    """Fails at an element that is not closed, and at a script."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        assert tag in {"table", "tr", "th", "td", "div", "b", "a", "p", "code", "svg", "thead", "tbody", *_VOID}, tag
        if tag not in _VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in _VOID:
            assert self.open.pop() == tag


@pytest.mark.parametrize("name", SHOWN)
def test_the_text_is_short(name: str) -> None:
    text = repr(SHOWN[name])
    assert len(text.splitlines()) <= 3
    assert len(text) <= 1000, text
    assert "hunter2" not in text
    assert "object at 0x" not in text


@pytest.mark.parametrize("name", SHOWN)
def test_the_html_is_escaped_and_complete(name: str) -> None:
    page = SHOWN[name]._repr_html_()
    parser = Balanced()
    parser.feed(page)
    parser.close()
    assert parser.open == []
    assert page.startswith("<")
    assert not re.fullmatch("&lt;[A-Za-z]+&gt;", page)  # what a failed representation shows
    assert len(page) < 60_000
    assert "hunter2" not in page
    assert "object at 0x" not in page


def test_a_representation_that_fails_is_the_name_of_the_class() -> None:
    class Broken(Shown):
        def _facts(self) -> dict[str, object]:
            raise ZeroDivisionError

    assert repr(Broken()) == "<Broken>"
    assert Broken()._repr_html_() == "&lt;Broken&gt;"
    assert repr(Listing([1], "numbers", attrs.asdict, lambda _: 1 / 0)) == "<Listing>"


def test_what_is_shown() -> None:
    assert repr(SHOWN["handle"]) == "Endpoint(name='scoring')"
    assert repr(SHOWN["list"]) == (
        "<60 endpoints: " + ", ".join([repr(one)[:100] for one in SHOWN["list"][:5]]) + ", …>"
    )
    assert "… 40 more" in SHOWN["list"]._repr_html_()
    assert repr(Listing([], "endpoints", attrs.asdict)) == "[]"
    assert repr(Reply(body=b'{"score": 0.5}', content_type="application/json", model="a", cold=True)) == (
        "Reply(value={'score': 0.5}, model='a', cold=True, latency=0, content_type='application/json')"
    )
    assert repr(SHOWN["large reply"]).startswith("Reply(value=<1 MB of application/json>")
    assert repr(SHOWN["reply as a frame"]).startswith("Reply(value=<DataFrame of shape (100, 1)>")
    assert repr(VERSION) == (
        "ModelVersion(name='fraud', version='v1', uri='s3://a/fraud/v1.tar.gz', size=12300000, "
        "created=2026-11-28 03:05 UTC)"
    )
    assert "12.3 MB" in VERSION._repr_html_()
    assert "1 failed, 0 unknown: role x: there is none" in repr(
        Preflight((Finding(subject="role x", verdict="failed", detail="there is none"),))
    )
    assert repr(SHOWN["status"]).endswith("(InService, 1 model loaded)>")
    assert "● loaded" in STATUS._repr_html_()
    assert "○ on disk" in STATUS._repr_html_()
    assert json.loads(json.dumps(STATUS)) == STATUS
    assert SHOWN["metrics"]._repr_html_().count("<svg") == 16
    assert repr(SHOWN["client"]).startswith("MMEClient(region='eu-west-1', endpoint_url='https://proxy.example/path'")


def test_the_pages_of_an_endpoint_are_linked() -> None:
    handle = Endpoints(aws(), lambda: None).handle("scoring")  # type: ignore[arg-type, return-value]
    console = "https://eu-west-1.console.aws.amazon.com/sagemaker/home?region=eu-west-1#/endpoints/scoring"
    assert handle.console_url == console
    assert [
        html.escape(one) in handle._repr_html_() for one in (console, "cloudwatch/home?region=eu-west-1#logsV2:")
    ] == [
        True,
        True,
    ]
    china = Endpoints(Aws(region="cn-north-1"), lambda: None).handle("scoring")  # type: ignore[arg-type, return-value]
    assert china.console_url.startswith("https://cn-north-1.console.amazonaws.cn/sagemaker/")
    gov = Endpoints(Aws(region="us-gov-west-1"), lambda: None).handle("scoring")  # type: ignore[arg-type, return-value]
    assert gov.console_url.startswith("https://us-gov-west-1.console.amazonaws-us-gov.com/sagemaker/")
    here = Aws(region="us-east-1", endpoint_url={"*": "http://127.0.0.1:4566"})
    local = Endpoints(here, lambda: None).handle("scoring")  # type: ignore[arg-type, return-value]
    assert local.console_url == "http://127.0.0.1:4566/"
    assert ">status page</a>" in local._repr_html_()
    private = Aws(region="us-east-1", endpoint_url="https://vpce-1.api.sagemaker.us-east-1.vpce.amazonaws.com")
    assert "console.aws" in Endpoints(private, lambda: None).handle("e").console_url  # type: ignore[arg-type, return-value]


def test_links_lead_to_pages_only() -> None:
    assert html.link("a", "javascript:alert(1)") == "a"
    assert html.link("<a>", "https://x/'\"") == (
        "<a href='https://x/&#x27;&quot;' target='_blank' rel='noopener'>&lt;a&gt;</a>"
    )


def test_lines() -> None:
    assert html.lines([]) == html.lines([float("nan")]) == ""
    assert html.lines([1.0]).count("<circle") == 1
    assert html.lines([0.0, 2.0, float("nan"), 1.0, 1.0]).count("<polyline") == 2
    assert "points='0.0,30.0 180.0,2.0'" in html.lines([0.0, 2.0])


def test_versions_are_a_list_that_is_read_page_by_page() -> None:
    read: list[int] = []

    def counted() -> Iterator[Page]:
        for number in range(3):
            read.append(number)
            yield ([] if number == 0 else [attrs.evolve(VERSION, version=f"v{number}")]), number < 2

    versions = Versions("under s3://a/", counted)
    assert read == [0, 1]  # the first page that has versions
    assert (versions[0].version, bool(versions)) == ("v1", True)
    assert repr(versions) == "<1+ versions under s3://a/: fraud/v1.tar.gz>"
    assert [one.version for one in versions] == ["v1", "v2"]
    assert read == [0, 1, 2]
    assert [one.version for one in versions] == ["v1", "v2"]  # listed again
    assert read == [0, 1, 2, 0, 1, 2]
    assert len(list(versions)) == len(versions) == 2
    assert read == [0, 1, 2, 0, 1, 2, 0, 1, 2]
    assert (versions[-1].version, [one.version for one in versions[:9]]) == ("v2", ["v1", "v2"])
    assert read == [0, 1, 2] * 3
    assert repr(versions).startswith("<2 versions under")
    assert not Versions("under s3://a/", lambda: iter([([], False)]))
