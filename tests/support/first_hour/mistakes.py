"""Mistakes of the first hour, as a person types them, and the message of each.

The names in the code are those of `namespace`. `python -m tests.support.first_hour.mistakes --write` writes
`docs/errors.md` anew.
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mme_sdk
from mme_sdk import EndpointSpec, MMEClient, planning, runtime
from mme_sdk import endpoints as endpoint_types
from mme_sdk.errors import MMEError
from tests.support.first_hour.world import FirstHour

__all__ = ["MISTAKES", "PAGE", "message_of", "messages", "namespace", "page"]

PAGE = Path(__file__).parents[3] / "docs" / "errors.md"

MISTAKES: dict[str, tuple[str, ...]] = {
    "Names of models": (
        "endpoint.invoke(row, model='Fraud')",
        "endpoint.invoke(row, model='fraud/v9.tar.gz')",
        "endpoint.invoke(row, model='fraud.tar.gz')",
        "endpoint.invoke(row, model='v1')",
        "endpoint.invoke(row, model='churn')",
        "endpoint.invoke(row, model='fraud@liev')",
        "endpoint.invoke(row, model='fraud@v1')",
        "endpoint.invoke(row, model='team/churn@live')",
        "endpoint.invoke(row, model='spam')",
        "endpoint.invoke(row, model='s3://models/single/fraud/v1.tar.gz')",
        "endpoint.invoke(row, model='/fraud/v1.tar.gz')",
        "endpoint.invoke(row, model='../single/fraud/v1.tar.gz')",
        "endpoint.invoke(row, model='fraud/')",
        "endpoint.invoke(row, model='')",
        "endpoint.invoke(row, model=7)",
        "endpoint.invoke(row)",
        "endpoint.invoke(row, model='fraud/v1.tar.gz', sticky='customer-1')",
    ),
    "Payloads and options": (
        "endpoint.invoke('{\"amount\": 1}', model='fraud@live')",
        "endpoint.invoke({'sum': 1}, model='fraud@live')",
        "endpoint.invoke(object(), model='fraud@live')",
        "endpoint.invoke({1, 2}, model='fraud@live')",
        "endpoint.invoke([float('nan')], model='fraud@live')",
        "endpoint.invoke(source, model='fraud@live')",
        "endpoint.invoke(row, model=broken)",
        "endpoint.invoke(bytes(26 << 20), model='fraud@live')",
        "endpoint.invoke(row, model='fraud@live', response_type=int)",
        "endpoint.invoke(row, model='fraud@live', response_type='json')",
        "endpoint.invoke(row, model='fraud@live', deadline='30')",
        "endpoint.invoke(row, model='fraud@live', deadline=0)",
        "endpoint.invoke(row, model='fraud@live', content_type='')",
        "endpoint.invoke(row, model='fraud@live', target_variant='All Traffic')",
        "endpoint.invoke(row, model='fraud@live', target_variant='Blue')",
        "endpoint.invoke(row, model='fraud@live', target_container='first')",
        "endpoint.invoke(row, model='fraud@live', idempotent='yes')",
    ),
    "Many calls": (
        "endpoint.invoke_many(7)",
        "endpoint.invoke_many([row], model_of='fraud@live')",
        "endpoint.invoke_many([row], settings=runtime.BatchSettings(max_concurrency=0))",
        "endpoint.invoke_frame([row], model_of='model')",
        "endpoint.invoke_frame(frame, model_of='modle')",
        "endpoint.invoke_frame(frame, model_of=['fraud@live'])",
        "endpoint.warm('fraud@live')",
        "endpoint.warm([7])",
        "endpoint.warm(['fraud@live'], capacity='8 GB')",
    ),
    "Streams and asynchronous inference": (
        "endpoint.invoke_stream(row)",
        "endpoint.invoke_async(row)",
        "queue.invoke(row)",
        "queue.invoke_async(b'')",
        "queue.invoke_async(bytes(200_000))",
        "queue.invoke_async(row, upload_to='models/in')",
        "queue.invoke_async(row, time_to_live=5)",
        "queue.invoke_async({'sum': 1}).result(timeout=0.5)",
    ),
    "The registry": (
        "client.models('models/prod')",
        "client.models('s3://Models/prod/')",
        "client.models('s3://models/prod2/', key='{name}.tar.gz')",
        "client.models('s3://no-such-bucket/prod/').register('fraud', source)",
        "list(client.models('s3://no-such-bucket/prod/').list())",
        "models.register('fraud', 'no/such/folder')",
        "models.register('fr@ud', source)",
        "models.register('fraud', empty_folder)",
        "models.register('fraud', source, version='v1')",
        "models.register('fraud', source, framework='sklaern')",
        "models.register('fraud', 7)",
        "models.get('fraud', 'v9')",
        "models.get('fraud')",
        "models.alias('fraud', 'live', 'v9')",
        "models.alias('fraud', 'live', {'v1': -1})",
        "models.alias('fraud', 'li/ve', 'v1')",
        "models.rollback('fraud', 'live')",
        "models.rollback('fraud', 'stable')",
        "models.unalias('fraud', 'stable')",
        "models.delete('fraud', 'v1')",
        "models.delete('fraud', 'v9')",
        "models.prune(0)",
        "models.copy(models.uri)",
        "models.copy('s3://models/copy/', version='v1')",
        "models.sync('no/such/folder')",
        "models.register_many({'a': 'no/such/folder'})",
    ),
    "Specs and endpoints": (
        "spec(name='my_endpoint')",
        "spec(models='models/prod')",
        "spec(name=123)",
        "spec(image='')",
        "spec(role='SageMakerRole')",
        "spec(instance_type='ml.m5.larg')",
        "spec(instance_count=0)",
        "EndpointSpec.from_dict({'multi_model': {'name': 'new', 'modles': 's3://models/prod/'}})",
        "endpoint_types.Autoscaling(min=4, max=1)",
        "endpoint_types.Serverless(memory_mb=1111)",
        "endpoint_types.images.retrieve('sklern', region='us-east-1')",
        "client.endpoints.create({'name': 'scoring'})",
        "client.endpoints.create(spec(name='scoring', instance_type='ml.m5.xlarge'))",
        "client.endpoint('my endpoint')",
        "client.endpoint('scorin').invoke(row, model='fraud@live')",
        "client.endpoint('scorin').describe()",
        "client.endpoints.get('nothing-like-it')",
        "endpoint.scale(0)",
        "endpoint.weights({'Blue': 1})",
        "endpoint.rollback()",
        "endpoint.wait(timeout=0)",
        "endpoint.update(spec(name='other'))",
        "endpoint.logs(lines=0)",
        "client.endpoint('scorin').logs()",
    ),
    "Clients, credentials and regions": (
        "MMEClient(region='')",
        "MMEClient(session='prod')",
        "MMEClient(transport='fst')",
        "MMEClient(hooks=[7])",
        "MMEClient(memory=runtime.Memory(), cold_start=mme_sdk.ColdStart())",
        "mme_sdk.Timeouts(read=-1)",
        "closed.endpoint('scoring').invoke(row, model='fraud@live')",
        "wrong_secret.endpoint('scoring').invoke(row, model='fraud/v1.tar.gz')",
        "wrong_secret.models('s3://models/prod/').get('fraud', 'v1')",
        "wrong_key.endpoint('scoring').describe()",
        "wrong_region.endpoint('scoring').invoke(row, model='fraud/v1.tar.gz')",
        "nobody_listens.endpoint('scoring').invoke(row, model='fraud/v1.tar.gz', deadline=60)",
    ),
    "Extras and plans": (
        "without('numpy', lambda: endpoint.invoke(row, model='fraud@live').numpy())",
        "without('pyarrow', lambda: endpoint.invoke(frame, model='fraud@live', content_type='application/x-parquet'))",
        "without('tqdm', lambda: models.register_many({'a': source}, progress=True))",
        "planning.Workload.zipf(0, exponent=0.9, rate=5.0)",
        "planning.Workload.zipf(10, exponent=0.9, rate=-5.0)",
        "planning.Workload.from_trace('no-such.csv')",
        "planning.SLO(p99=-1)",
        "planning.Catalogue.uniform(memory_mb=0, service_ms=20, load_seconds=1.0)",
        "plan(instance_types=['ml.m5.larg'])",
    ),
}


@contextmanager
def namespace(world: FirstHour) -> Iterator[dict[str, Any]]:
    """Return the names that the code of the mistakes uses."""
    import boto3
    import pandas as pd

    host = world.host
    keys = host.session().get_credentials()

    def session(**changes: str) -> Any:
        given = {"aws_access_key_id": keys.access_key, "aws_secret_access_key": keys.secret_key}
        return boto3.Session(**{**given, "region_name": host.region, **changes})

    def without(module: str, call: Any) -> Any:
        kept = {name: sys.modules.pop(name) for name in list(sys.modules) if name.split(".")[0] == module}
        sys.modules[module] = None  # type: ignore[assignment]
        try:
            return call()
        finally:
            del sys.modules[module]
            sys.modules.update(kept)

    def plan(**more: Any) -> Any:
        return planning.plan(
            planning.Workload.zipf(10, exponent=0.9, rate=1.0),
            catalogue=planning.Catalogue.uniform(memory_mb=100, service_ms=20, load_seconds=1.0),
            slo=planning.SLO(p99=2.5),
            **more,
        )

    def spec(name: str = "new", **changes: Any) -> EndpointSpec:
        return world.spec(name, **changes)

    closed = host.client()
    closed.close()
    empty_folder = world.folder / "empty"
    empty_folder.mkdir(exist_ok=True)
    urls = host.endpoint_urls
    clients = {
        "wrong_secret": MMEClient(session=session(aws_secret_access_key="wrong"), endpoint_url=urls),
        "wrong_key": MMEClient(session=session(aws_access_key_id="AKIDNOBODY"), endpoint_url=urls),
        "wrong_region": MMEClient(session=session(region_name="eu-west-1"), endpoint_url=urls),
        "nobody_listens": MMEClient(session=session(), endpoint_url="http://127.0.0.1:9"),
    }
    try:
        yield {
            **clients,
            "EndpointSpec": EndpointSpec,
            "MMEClient": MMEClient,
            "endpoint_types": endpoint_types,
            "mme_sdk": mme_sdk,
            "planning": planning,
            "runtime": runtime,
            "row": {"amount": 1.0},
            "broken": world.broken,
            "client": world.client,
            "closed": closed,
            "empty_folder": empty_folder,
            "endpoint": world.scoring,
            "frame": pd.DataFrame({"amount": [1.0], "model": ["fraud@live"]}),
            "models": world.models,
            "plan": plan,
            "queue": world.queue,
            "source": world.source("other"),
            "spec": spec,
            "without": without,
        }
    finally:
        for client in clients.values():
            client.close()


def message_of(code: str, names: Mapping[str, Any], world: FirstHour) -> str:
    """Make a mistake and return the message, without what differs from run to run.

    Raises:
        AssertionError: No MMEError came.
    """
    try:
        got = eval(code, dict(names))
    except MMEError as error:
        text = f"{type(error).__name__}: {error}"
    else:
        raise AssertionError(f"{code}: no error, but {got!r}")
    text = re.sub(r"\n  \(request id [^)]*\)", "", text)
    for secret, name in ((str(world.folder), "…"), (tempfile.gettempdir(), "/tmp")):
        text = text.replace(secret, name)
    text = re.sub(r"/tmp/mme-sdk-data-\w+", "/tmp/mme-sdk-data", text)
    text = re.sub(r"\b\d{10}\.\d+", "…", text)
    text = re.sub(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "…", text)
    return re.sub(r"\b[0-9a-f]{12,64}\b", "…", text)


def page(found: Mapping[str, Mapping[str, str]]) -> str:
    """Return the text of the page."""
    lines = [
        "# Messages of common mistakes",
        "",
        "This page shows mistakes and their messages: what happened, to what, and what to do. The tests make each",
        "of these mistakes and compare the message with this page. In the examples, `endpoint` is a multi-model",
        "endpoint, `queue` has asynchronous inference, and `row` is `{'amount': 1.0}`. A message of AWS also ends with",
        "its request id.",
    ]
    for section, texts in found.items():
        lines += ["", f"## {section}", "", "| code | message |", "|---|---|"]
        for code, text in texts.items():
            cell = "<br>".join(line.strip() for line in text.replace("|", "\\|").replace("<", "&lt;").splitlines())
            lines.append(f"| `{code}` | {cell} |")
    return "\n".join(lines) + "\n"


def messages(world: FirstHour) -> dict[str, dict[str, str]]:
    """Make every mistake and return the messages, by section and code."""
    with namespace(world) as names:
        return {
            section: {code: message_of(code, names, world) for code in codes} for section, codes in MISTAKES.items()
        }


def main() -> None:
    """Print the page, or write it with `--write`."""
    with tempfile.TemporaryDirectory() as folder, FirstHour(Path(folder)) as world:
        text = page(messages(world))
    if "--write" in sys.argv:
        PAGE.write_text(text)
    else:
        print(text)


if __name__ == "__main__":
    main()
