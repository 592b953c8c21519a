"""Pages of the reference that are made from docstrings and tables: settings, metrics and events, AWS fields."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SETTINGS = {
    "mme_sdk.config.Timeouts": "`MMEClient(timeouts=Timeouts(…))`",
    "mme_sdk.config.RetryPolicy": "`MMEClient(retry=RetryPolicy(…))`",
    "mme_sdk.config.ColdStart": "`MMEClient(cold_start=ColdStart(…))`",
    "mme_sdk.runtime.BatchSettings": "`invoke_many(…, settings=BatchSettings(…))`",
    "mme_sdk.registry.ObjectOptions": "`client.models(uri, options=ObjectOptions(…))`",
    "mme_sdk.local.ControlSettings": "`LocalSageMaker(control=ControlSettings(…))`, or `--set NAME=NUMBER`",
    "mme_sdk.local.HostingSettings": "`LocalSageMaker(settings=HostingSettings(…))`, or `--set NAME=NUMBER`",
}
"""Classes of settings, and where each is given."""
VARIABLES = {
    "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_PROFILE": (
        "boto3",
        "The keys of the caller, or the profile that has them. `MMEClient(session=…)` replaces them.",
    ),
    "AWS_REGION, AWS_DEFAULT_REGION": ("boto3", "The region. `MMEClient(region=…)` replaces it."),
    "AWS_ENDPOINT_URL, AWS_ENDPOINT_URL_S3, …": (
        "boto3",
        "Addresses of the embedded SageMaker, in place of AWS's. `MMEClient(endpoint_url=…)` replaces them.",
    ),
    "AWS_LAMBDA_FUNCTION_NAME, _X_AMZN_TRACE_ID": (
        "clients in AWS Lambda",
        "Lambda sets them. Requests then carry the trace.",
    ),
    "MME_MODELS": ("`mme`", "The S3 prefix of the models, in place of `--models`."),
    "MME_ENDPOINT_URL": ("`mme`", "Addresses, or `local`, in place of `--endpoint-url`."),
    "MME_LOCAL_FILE": (
        "`mme`",
        "The file in which `mme local up` leaves address and keys. Default: `mme/local.json` in `$XDG_STATE_HOME`.",
    ),
    "NO_COLOR, TERM": ("`mme`", "`NO_COLOR=1` or `TERM=dumb`: no colours and no progress bars."),
    "PYTEST_XDIST_WORKER": (
        "the pytest plugin",
        "pytest-xdist sets it. Each worker has a directory of its own in `--mme-data-dir`.",
    ),
    "MME_SKOPS_TRUSTED": (
        "a model of the Python container",
        "Types that skops may load beside its own, separated by commas; in `environment` of the container.",
    ),
}
"""Environment variables that a user sets: who reads each, and what it does."""
SET_BY_HOST = ("MME_GPU_ID", "MME_GPU_MEMORY", "MME_IMAGE", "MME_ISOLATION")
"""Variables with which the embedded SageMaker starts its containers. No user sets them."""
EVENTS = ("AttemptMade", "ColdStartSeen", "RetryPlanned", "CallCompleted", "CallFailed")


def documented(path: str) -> type:
    """Return a class with the name and the docstring of the one at a dotted path.

    The class itself is not imported: it may need an extra, and the pages are built without extras.
    """
    package, _, name = path.rpartition(".")
    place = ROOT.joinpath(*package.split("."))
    for file in sorted(place.rglob("*.py")) if place.is_dir() else [place.with_suffix(".py")]:
        source = file.read_text(encoding="utf-8")
        if re.search(rf"^class {name}\b", source, re.MULTILINE):
            for node in ast.parse(source).body:
                if isinstance(node, ast.ClassDef) and node.name == name:
                    return type(name, (), {"__doc__": ast.get_docstring(node)})
    raise ValueError(f"{path} has no source")


def attributes(kind: Any) -> dict[str, str]:
    """Return the texts of the section `Attributes:` of a docstring, by name."""
    section = re.search(r"^Attributes:\n((?:(?:    .*)?\n?)+)", inspect.getdoc(kind) or "", re.MULTILINE)
    if section is None:
        raise ValueError(f"{kind.__name__} documents no attributes")
    entries = re.split(r"^ {4}(?=\w+: )", section[1], flags=re.MULTILINE)[1:]
    parts = (entry.partition(": ") for entry in entries)
    return {name: re.sub(r"\s+", " ", text).strip() for name, _, text in parts}


def table(head: tuple[str, ...], rows: Iterator[tuple[str, ...]] | list[tuple[str, ...]]) -> str:
    """Return a table in Markdown."""
    cells = [" | ".join(one.replace("|", "\\|") for one in row) for row in rows]
    return "\n".join([f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}", *(f"| {row} |" for row in cells)]) + "\n"


def settings() -> str:
    """Return the page of the settings: classes, and environment variables."""
    text = (
        "# Settings and environment variables\n\nSettings are immutable objects. "
        "`attrs.evolve(settings, field=value)` returns a changed copy. A value outside its range raises "
        "`InvalidInputError`.\n"
    )
    for path, where in SETTINGS.items():
        kind = documented(path)
        summary = (inspect.getdoc(kind) or "").partition("\n\n")[0].replace("\n", " ")
        rows = [(f"`{name}`", said) for name, said in attributes(kind).items()]
        text += f"\n## {kind.__name__}\n\n{summary} Given as {where}.\n\n{table(('setting', 'meaning'), rows)}"
    text += (
        "\n## Environment variables\n\nThe SDK itself has no settings in the environment. boto3 reads AWS's variables, "
        "and the command line some of its own.\n\n"
    )
    rows = [
        (", ".join(f"`{one}`" if one != "…" else one for one in names.split(", ")), reader, said)
        for names, (reader, said) in VARIABLES.items()
    ]
    return text + table(("variable", "read by", "meaning"), rows)


def prometheus_metrics() -> list[tuple[str, str, str]]:
    """Return name, labels and text of the metrics that `prometheus_hook` registers, from its source."""
    from mme_sdk.runtime import prometheus_hook

    found = []
    for node in ast.walk(ast.parse(inspect.getsource(prometheus_hook))):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in {"Counter", "Histogram"}:
            name, said, labels = (ast.literal_eval(one) for one in node.args)
            suffix = "_total" if getattr(node.func, "id", "") == "Counter" else ""
            found.append((f"`{name}{suffix}`", ", ".join(f"`{one}`" for one in labels), said))
    return found


def metrics() -> str:
    """Return the page of metrics and events."""
    from mme_sdk import runtime
    from mme_sdk.metrics import EndpointMetrics
    from mme_sdk.metrics.reading import _METRICS as AWS
    from mme_sdk.recording.emf import _METRICS as EMF
    from mme_sdk.recording.exporters import METRICS as RECORDED

    said = attributes(EndpointMetrics)
    aws = [
        (f"`{name}`", f"`{one.namespace}`", f"`{one.metric}`, {one.statistic}", said[name]) for name, one in AWS.items()
    ]
    text = (
        "# Metrics and events\n\nPayloads are in no metric, log or span.\n\n"
        "## CloudWatch: `endpoint.metrics()`\n\nSageMaker publishes these metrics. The embedded SageMaker publishes "
        "them too. Times are converted to seconds, and shares to 0 to 1.\n\n"
    )
    text += table(("series", "namespace", "metric", "meaning"), aws)
    text += (
        "\n## Events for hooks\n\n`MMEClient(hooks=[function])` calls the function with each event of an invocation. "
        "An attribute `events` of the function, a tuple of classes, selects the events.\n"
    )
    for name in EVENTS:
        kind = getattr(runtime, name)
        summary = (inspect.getdoc(kind) or "").partition("\n\n")[0]
        rows = [(f"`{field}`", meaning) for field, meaning in attributes(kind).items()]
        text += f"\n### {name}\n\n{summary}\n\n{table(('field', 'meaning'), rows)}"
    text += "\n## Prometheus: `prometheus_hook()`\n\nThe model is not a label: use a `Recorder` for models.\n\n"
    text += table(("metric", "labels", "meaning"), prometheus_metrics())
    text += (
        "\n## OpenTelemetry: `otel_hook()`\n\nA client span for each attempt, and the histogram "
        "`http.client.request.duration` in seconds. Both have the attributes of OpenTelemetry's conventions for HTTP "
        "clients, and `aws.sagemaker.endpoint_name`; the span also has `aws.sagemaker.target_model`.\n\n"
        "## Recorder: each model\n\n`export_prometheus(recorder)` and `export_opentelemetry(recorder)` export these "
        "counters with the labels `endpoint`, `model` and `variant`. [Recordings](../recording.md) explains them.\n\n"
    )
    recorded = [
        (f"`mme_recorded_{name}_total`", f"`mme.recorded.{name}`", unit.strip("{}"), meaning)
        for name, unit, meaning, _ in RECORDED
    ]
    text += table(("Prometheus", "OpenTelemetry", "unit", "meaning"), recorded)
    listed = ", ".join(f"`{one['Name']}`" for one in EMF)
    return (
        f"{text}\n`emf_lines(records)` makes metrics in CloudWatch, in the namespace `mme_sdk`, with the dimensions "
        f"`Endpoint` and `Variant`: {listed}, `Latency` and `ColdWait`.\n"
    )


def fields(page: str) -> str:
    """Return the page of the request fields, from the table between the markers of `docs/local.md`."""
    return (
        "# AWS fields: honoured, stored, refused\n\nWhat the [embedded SageMaker](../local.md#fields-of-requests) does "
        "with each field of a request. A field is *honoured* (it changes what the host does), *stored* (stored and "
        "returned, without another effect) or *refused* with a reason.\n\nA structure that occurs in several requests "
        f"is listed under the first one.\n\n{split(page)[1]}\n"
    )


def split(page: str) -> tuple[str, str, str]:
    """Return the text of `docs/local.md` before the table of fields, the table, and the text after it."""
    before, _, rest = page.partition("<!-- fields: begin -->")
    middle, _, after = rest.partition("<!-- fields: end -->")
    if not middle:
        raise ValueError("docs/local.md has no table of fields")
    return before, middle.strip(), after
