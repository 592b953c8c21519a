"""Make the pictures of screens in `docs/images/` again: the status page, `mme top`, `mme diagnose` and the dashboards.

    python scripts/screens.py                  # all pictures; takes two minutes and needs chromium and pillow
    python scripts/screens.py --serve          # the host with its load, to look at; Ctrl-C ends it

A host serves three endpoints with 40 models each. An hour of requests is replayed in a minute: the clock of its metrics
starts an hour ago and advances a minute after each round of requests. Look at the pictures before you commit them.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import math
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from mme_sdk import EndpointSpec, MMEClient, Recorder
from mme_sdk.artifacts import pack
from mme_sdk.cli.screens.drawing import drawn
from mme_sdk.cli.screens.reading import from_host
from mme_sdk.errors import MMEError
from mme_sdk.exports import PANELS, cloudwatch_dashboard, grafana_dashboard
from mme_sdk.local import Command, ControlSettings, HostingSettings, LocalSageMaker, assembly

IMAGES = Path(__file__).parent.parent / "docs" / "images"
ROLE = "arn:aws:iam::123456789012:role/sagemaker"
IMAGE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/scores:1"
BUCKET = "ml-models"
ENDPOINTS = {"fraud": 2, "pricing": 1, "churn": 1}  # and their instances
MODELS, MINUTES = 40, 58
MIB = 1 << 20
_FIELDS = {"cold_calls": "cold"}  # counters in Prometheus whose name in a record differs

# A container for many models in one process, so that a small machine can show a large fleet.
SERVER = r"""
import json, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

KEY, MODELS = sys.stdin.readline().strip(), {}

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, status, said):
        body = json.dumps(said).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def handle_request(self):
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        parts = [unquote(one) for one in self.path.strip("/").split("/")]
        if self.headers.get("x-mme-sdk-key") != KEY:
            return self.answer(403, {"message": "no key"})
        if parts == ["ping"]:
            return self.answer(200, {})
        if self.command == "POST" and parts == ["models"]:
            given = json.loads(body)
            MODELS[given["model_name"]] = self.headers["x-amzn-sagemaker-target-model"]
            print(MODELS[given["model_name"]], "is loaded", flush=True)
            return self.answer(200, {})
        if parts == ["models"]:
            return self.answer(200, {"models": [{"modelName": name} for name in MODELS]})
        if parts[1] not in MODELS:
            return self.answer(404, {"message": "not loaded"})
        if self.command == "DELETE":
            print(MODELS.pop(parts[1]), "is unloaded", flush=True)
            return self.answer(200, {})
        if parts[2:] == ["invoke"]:
            if body == b"bad":
                print(MODELS[parts[1]], "ValueError: no column 'amount'", flush=True)
                return self.answer(500, {"message": "ValueError: no column 'amount'"})
            return self.answer(200, {"score": 0.5})
        self.answer(200, {"modelName": parts[1]})

    do_GET = do_POST = do_DELETE = handle_request

    def log_message(self, *_):
        pass

ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


class Clock:
    """The clock of the host's metrics: an hour ago at first; it advances a minute after each round of requests."""

    def __init__(self) -> None:
        self.at: float | None = 60 * (time.time() // 60 - MINUTES) + 30

    def time(self) -> float:
        """Return the time of the metrics, in seconds since the epoch."""
        return time.time() if self.at is None else self.at


@contextlib.contextmanager
def fleet(clock: Clock, port: int = 0) -> Iterator[tuple[LocalSageMaker, MMEClient]]:
    """Run the host with its endpoints."""
    assembly.time = SimpleNamespace(time=clock.time)  # type: ignore[assignment]
    settings = HostingSettings(memory_bytes=600 * MIB, answer_limit=0.1, load_seconds=0.12, metrics_seconds=0.2)
    control = ControlSettings(provisioning=0.1, deletion=0.1)
    images = {IMAGE: Command([sys.executable, "-c", SERVER, "{port}"])}
    with (
        LocalSageMaker(port=port, settings=settings, control=control, images=images) as host,
        host.client() as client,
        tempfile.TemporaryDirectory() as folder,
    ):
        host.boto("s3").create_bucket(Bucket=BUCKET)
        for endpoint, instances in ENDPOINTS.items():
            _upload(host, endpoint, Path(folder))
            client.endpoints.create(
                EndpointSpec.multi_model(
                    name=endpoint,
                    models=f"s3://{BUCKET}/{endpoint}/",
                    image=IMAGE,
                    role=ROLE,
                    instance_type="ml.m5.xlarge",
                    instance_count=instances,
                )
            )
        yield host, client


def _upload(host: LocalSageMaker, endpoint: str, folder: Path) -> None:
    s3, sizes = host.boto("s3"), random.Random(endpoint)
    for place in range(MODELS):
        source = folder / f"{endpoint}{place}"
        source.mkdir()
        (source / "name").write_text(f"{endpoint} {place}")
        (source / "weights").write_bytes(bytes(int(sizes.lognormvariate(3.0, 0.6) * MIB)))
        archive = io.BytesIO()
        pack(source, archive)
        s3.put_object(Bucket=BUCKET, Key=f"{endpoint}/{name(place)}", Body=archive.getvalue())
        shutil.rmtree(source)
    s3.close()


def name(place: int) -> str:
    """Return the target model of a number."""
    return f"shop-{place:02}/v{1 + place % 3}.tar.gz"


def load(client: MMEClient, rng: random.Random, requests: int) -> None:
    """Send one round of requests to each endpoint. A few models get most of them."""

    def send(one: tuple[str, str, bytes]) -> None:
        endpoint, model, body = one
        with contextlib.suppress(MMEError):
            client.endpoint(endpoint).invoke(body, model=model, deadline=20)

    sent = []
    for endpoint, instances in ENDPOINTS.items():
        for _ in range(int(requests * instances * rng.uniform(0.7, 1.3))):
            place = min(int(rng.paretovariate(0.9)) - 1, MODELS - 1) if rng.random() < 0.85 else rng.randrange(MODELS)
            sent.append((endpoint, name(place), b"bad" if rng.random() < 0.004 else b"{}"))
        if rng.random() < 0.1:
            sent.append((endpoint, "shop-99/v1.tar.gz", b"{}"))
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(send, sent))


def replay(clock: Clock, client: MMEClient, rng: random.Random) -> None:
    """Replay an hour, up to the present. The load of the second half is twice that of the first."""
    minute = 0
    while clock.at is not None:
        load(client, rng, 8 if minute < MINUTES // 2 else 16)
        minute, clock.at = minute + 1, clock.at + 60
        if clock.at > time.time():
            clock.at = None


def main() -> None:
    """Make the pictures, or serve."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--serve", action="store_true", help="serve until Ctrl-C, and draw nothing")
    parser.add_argument("--port", type=int, default=0, help="port of the host; 0 takes a free one")
    options = parser.parse_args()
    clock, rng, minutes = Clock(), random.Random(7), []
    with fleet(clock, options.port) as (host, client):
        with (
            Recorder(sinks=[minutes.extend], now=clock.time) as recorder,
            client.with_options(hooks=[recorder]) as recorded,
        ):
            replay(clock, recorded, rng)
        if options.serve:
            print("\n".join(f"export {key}={value}" for key, value in host.environ().items()), flush=True)
            over = threading.Event()
            while not over.wait(1.0):
                load(client, rng, 2)
        load(client, rng, 8)
        page = f"{host.endpoint_url}/_mme/"
        picture("status-page", page, 1200, 1180)
        picture("status-page-narrow", page, 400, 1150)
        terminal("mme-top", "mme top fraud", drawn(from_host(host.endpoint_url, "fraud", minutes=60)))
        found = client.endpoint("churn").diagnose(hours=1, recordings=minutes)
        terminal("mme-diagnose", "mme diagnose churn --hours 1 --recordings s3://ml-models/recordings/", str(found))
        dashboard("dashboard-cloudwatch", "CloudWatch dashboard of churn", cloudwatch_panels(host, "churn"))
        dashboard("dashboard-grafana", "Grafana dashboard of churn", grafana_panels("churn", minutes))


def picture(target: str, url: str, width: int, height: int) -> None:
    """Write what chromium shows at a URL, with few colours, to `docs/images`."""
    from PIL import Image

    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        sys.exit("screens.py needs chromium")
    with tempfile.TemporaryDirectory() as folder:
        shot = Path(folder) / "shot.png"
        options = ["--headless", "--no-sandbox", "--hide-scrollbars", "--virtual-time-budget=6000"]
        options += ["--disable-gpu", "--run-all-compositor-stages-before-draw"]
        size = [f"--window-size={width},{height}", f"--screenshot={shot}", f"--user-data-dir={folder}/profile"]
        subprocess.run([chromium, *options, *size, url], check=True, capture_output=True, timeout=120)
        image = (
            Image.open(shot)
            .convert("RGB")
            .quantize(colors=128, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
        )
        image.save(IMAGES / f"{target}.png", optimize=True)
    print(f"{target}.png: {(IMAGES / f'{target}.png').stat().st_size / 1e3:.0f} kB")


def terminal(target: str, command: str, shown: Any) -> None:
    """Draw a screen of a terminal."""
    from rich.console import Console

    console = Console(record=True, width=112, file=io.StringIO(), highlight=False, markup=False)
    console.print(f"$ {command}")
    console.print(shown)
    svg = console.export_svg(title="mme")
    svg = svg[: svg.index("@font-face")] + svg[svg.index(".terminal-") :]  # the font is on another site
    width, height = (math.ceil(float(one)) for one in svg.partition('viewBox="0 0 ')[2].partition('"')[0].split())
    web(target, f'<body style="margin:0;background:#fff">{svg}</body>', width, height)


def web(target: str, html: str, width: int, height: int) -> None:
    """Draw a page that is not served."""
    with tempfile.NamedTemporaryFile("w", suffix=".html", encoding="utf-8") as file:
        file.write(f"<!doctype html><meta charset=utf-8>{html}")
        file.flush()
        picture(target, f"file://{file.name}", width, height)


def cloudwatch_panels(host: LocalSageMaker, endpoint: str) -> list[dict[str, Any]]:
    """Return the widgets of the exported CloudWatch dashboard with what GetMetricData answers to their metrics."""
    cloudwatch, end = host.boto("cloudwatch"), datetime.now(UTC)
    panels = []
    for widget in cloudwatch_dashboard(endpoint, region=host.region)["widgets"]:
        given = widget["properties"]
        queries = [_query(place, line, given) for place, line in enumerate(given["metrics"])]
        start = end - timedelta(hours=1)
        answer = cloudwatch.get_metric_data(MetricDataQueries=queries, StartTime=start, EndTime=end)
        series = {
            one["Label"]: {
                at.timestamp() // 60: value for at, value in zip(one["Timestamps"], one["Values"], strict=True)
            }
            for one in answer["MetricDataResults"]
        }
        panels.append(_panel(given["title"], series, int(end.timestamp() // 60)))
    cloudwatch.close()
    return panels


def _query(place: int, line: list[Any], given: dict[str, Any]) -> dict[str, Any]:
    if isinstance(line[0], dict):
        return {"Id": line[0]["id"], "Expression": line[0]["expression"], "Label": line[0]["label"]}
    namespace, metric, *names, options = line
    dimensions = [{"Name": key, "Value": value} for key, value in zip(names[::2], names[1::2], strict=True)]
    stat = {"Namespace": namespace, "MetricName": metric, "Dimensions": dimensions}
    return {
        "Id": options.get("id", f"q{place}"),
        "Label": options.get("label", metric),
        "MetricStat": {"Metric": stat, "Period": given["period"], "Stat": given["stat"]},
        "ReturnData": options.get("visible", True),
    }


def grafana_panels(endpoint: str, minutes: Sequence[Any]) -> list[dict[str, Any]]:
    """Return the panels of the exported Grafana dashboard with the recorder's counters: rates of each minute."""
    end, panels = int(max(one.at for one in minutes).timestamp() // 60), []
    own = [one for one in minutes if one.endpoint == endpoint]
    described = {one.title: one for one in PANELS}
    for given in grafana_dashboard(endpoint)["panels"]:
        panel = described[given["title"]]
        most = Counter[str]()
        for one in own:
            most[str(getattr(one, panel.by))] += one.calls
        series = {}
        most.pop("None", None)  # calls without an answer have no variant
        for label, _ in most.most_common(4):
            lines = [one for one in own if str(getattr(one, panel.by)) == label]
            upper, lower = _sums(lines, panel.recorded), _sums(lines, panel.per)
            series[label] = {
                at: value / (60 if panel.per is None else lower[at])
                for at, value in upper.items()
                if panel.per is None or lower[at]
            }
        panels.append(_panel(given["title"], series, end))
    return panels


def _sums(lines: Sequence[Any], counter: str | None) -> Counter[int]:
    found = Counter[int]()
    for one in lines:
        counted = 0 if counter is None else getattr(one, _FIELDS.get(counter, counter))
        found[int(one.at.timestamp() // 60)] += sum(counted.values()) if isinstance(counted, dict) else counted
    return found


def _panel(title: str, series: dict[str, dict[Any, float]], end: int) -> dict[str, Any]:
    rows = [[values.get(minute) for minute in range(end - 59, end + 1)] for values in series.values()]
    known = [value for row in rows for value in row if value is not None]
    return {
        "title": title,
        "names": [*series],
        "rows": rows,
        "value": f"max {max(known):.3g}" if known else "no values",
    }


def dashboard(target: str, title: str, panels: list[dict[str, Any]]) -> None:
    """Draw the panels of a dashboard by the chart code of the status page. It is not the look of the other tool."""
    folder = Path(assembly.__file__).parent / "http"
    css, code = ((folder / one).read_text(encoding="utf-8") for one in ("status.css", "charts.js"))
    more = (
        "body{max-width:none} .charts{grid-template-columns:repeat(3,1fr);gap:1.4rem 1.6rem} figure svg{height:90px}"
        ".s1{stroke:var(--miss)} .s2{stroke:var(--good)} .s3{stroke:#8250a8}"
        ".legend{margin:.2rem 0}"
        ".c0{color:var(--fill)} .c1{color:var(--miss)} .c2{color:var(--good)} .c3{color:#8250a8}"
    )
    draw = """
    for (const one of PANELS) {
      const figure = chart(one.title, one.rows.map((_, place) => "stroke s" + place));
      drawLines(figure, one.rows, 0, one.value, one.title);
      const names = one.names.flatMap((name, place) => [make("span", "", make("b", "c" + place, "■ "), name)]);
      figure.append(make("div", "legend", ...names));
      document.querySelector(".charts").append(figure);
    }"""
    data = json.dumps(panels).replace("<", "\\u003c")
    head = f"<h2>{title} <span class=faint>drawn with the charts of the status page</span></h2>"
    script = f"<script>{code}\nconst PANELS = {data};{draw}</script>"
    html = f"<style>{css}{more}</style><body>{head}<div class=charts></div>{script}</body>"
    web(target, html, 1000, 90 + 155 * math.ceil(len(panels) / 3))


if __name__ == "__main__":
    main()
