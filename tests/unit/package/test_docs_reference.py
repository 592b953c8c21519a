"""The pages on settings, metrics and events agree with the code."""

from __future__ import annotations

import importlib
import re
from typing import get_args

import attrs
import prometheus_client
import pytest

from mme_sdk import runtime
from mme_sdk._attempt import Attempt
from mme_sdk.errors import ThrottledError
from mme_sdk.metrics import EndpointMetrics, Series
from mme_sdk.runtime.telemetry import hooks
from scripts import docs_reference
from tests.support.paths import ROOT

SHARED = {"endpoint": "scoring", "model": "fraud/v3.tar.gz"}


@pytest.mark.parametrize("path", docs_reference.SETTINGS)
def test_each_setting_is_on_the_page(path: str) -> None:
    module, _, name = path.rpartition(".")
    kind = getattr(importlib.import_module(module), name)
    said = docs_reference.attributes(docs_reference.documented(path))
    assert said == docs_reference.attributes(kind)
    assert list(said) == [field.name for field in attrs.fields(kind)]
    assert all(said.values())
    page = docs_reference.settings()
    assert all(f"| `{name}` | " in page for name in said)


def test_a_class_that_is_nowhere_is_refused() -> None:
    with pytest.raises(ValueError, match=r"mme_sdk\.local\.HostingSetings has no source"):
        docs_reference.documented("mme_sdk.local.HostingSetings")


def test_a_class_without_documented_attributes_is_refused() -> None:
    with pytest.raises(ValueError, match="Series2 documents no attributes"):
        docs_reference.attributes(type("Series2", (), {"__doc__": "Nothing."}))


def test_each_variable_of_the_code_is_on_the_page() -> None:
    sources = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "mme_sdk").rglob("*.py"))
    found = set(re.findall(r"[\"'](MME_[A-Z_]+)[\"']", sources))
    listed = set(", ".join(docs_reference.VARIABLES).split(", "))
    assert found == {name for name in listed if name.startswith("MME_")} | set(docs_reference.SET_BY_HOST)
    read = set(re.findall(r"environ(?:\.get\(|\[)\"([A-Z_]+)\"", "\n".join(client_sources())))
    assert "NO_COLOR" in read
    assert {name for name in read if not name.startswith("AWS_ENDPOINT_URL")} - {"XDG_STATE_HOME"} <= listed


def client_sources() -> list[str]:
    """The modules that run in the user's process: all but those of the embedded SageMaker."""
    return [
        path.read_text(encoding="utf-8")
        for path in (ROOT / "mme_sdk").rglob("*.py")
        if path.relative_to(ROOT / "mme_sdk").parts[0] != "local"
    ]


def test_the_events_are_those_that_hooks_receive() -> None:
    assert {kind.__name__ for kind in get_args(hooks.Event)} == set(docs_reference.EVENTS)
    for name in docs_reference.EVENTS:
        kind = getattr(runtime, name)
        assert list(docs_reference.attributes(kind)) == [field.name for field in attrs.fields(kind)]


def test_the_metrics_of_prometheus_are_those_that_the_hook_exports() -> None:
    registry = prometheus_client.CollectorRegistry()
    hook = runtime.prometheus_hook(registry)
    error = ThrottledError("no")
    attempt = Attempt(at=0.0, took=0.1, status=200)
    hook(hooks.AttemptMade(**SHARED, number=1, attempt=attempt, sent_bytes=1))
    hook(hooks.ColdStartSeen(**SHARED, leads=True, expected=1.0, source="default"))
    hook(hooks.RetryPlanned(**SHARED, reason="cold", wait=1.0))
    hook(hooks.CallCompleted(**SHARED, attempts=1, cold=True, took=1.0, variant=None, received_bytes=1))
    hook(hooks.CallFailed(**SHARED, error=error, took=1.0))
    found = {}
    for family in registry.collect():
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        found[name] = (labels, family.documentation)
    listed = {name.strip("`"): (set(re.findall(r"`(\w+)`", labels)), said) for name, labels, said in PROMETHEUS}
    assert listed == found


PROMETHEUS = docs_reference.prometheus_metrics()


def test_each_series_of_cloudwatch_is_on_the_page() -> None:
    page = docs_reference.metrics()
    fields = [field.name for field in attrs.fields(EndpointMetrics) if field.type in {Series, "Series"}]
    assert len(fields) > 15
    assert all(f"| `{name}` | `" in page for name in fields)


def test_the_table_of_fields_has_a_page() -> None:
    page = (ROOT / "docs" / "local.md").read_text(encoding="utf-8")
    assert "| `InvokeEndpoint` |" in docs_reference.fields(page)
    before, table, after = docs_reference.split(page)
    assert len(before) + len(table) + len(after) < len(page)
    with pytest.raises(ValueError, match="no table"):
        docs_reference.split("# Another page")
