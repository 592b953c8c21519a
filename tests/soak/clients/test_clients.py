"""Run one script for each client with `python -m mme_sdk.local` and the variables that it prints, and nothing else."""

from __future__ import annotations

import io
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from urllib.request import urlopen

import boto3
import pytest

from mme_sdk.artifacts import pack
from tests.support.paths import ROOT

pytestmark = pytest.mark.slow
ENVIRONMENTS = Path(os.environ.get("MME_CLIENTS", ROOT / ".venv-clients")).absolute()
SCRIPTS = Path(__file__).parent / "scripts"
# mlflow sends a table: {"dataframe_split": {"columns": …, "data": …}}, and reads {"predictions": …}.
DOUBLE = """
import json
def model_fn(folder): return 2
def input_fn(body, kind): return json.loads(body)
def predict_fn(rows, factor):
    if isinstance(rows, dict):
        return {"predictions": [factor * row[0] for row in rows["dataframe_split"]["data"]]}
    return [factor * one for one in rows]
def output_fn(answer, kind): return json.dumps(answer), "application/json"
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    """Return the folder of a model that doubles numbers. Its archive is beside it."""
    folder = tmp_path_factory.mktemp("model") / "model"
    (folder / "code").mkdir(parents=True)
    (folder / "code" / "inference.py").write_text(DOUBLE)
    packed = io.BytesIO()
    pack(folder, packed)
    folder.with_name("model.tar.gz").write_bytes(packed.getvalue())
    return folder


@pytest.fixture
def exports(tmp_path, model) -> Iterator[dict[str, str]]:
    """Start a host with the bucket `clients`, which has the model. Yield the variables that the host prints."""
    command = [sys.executable, "-m", "mme_sdk.local", "--port", "0"]
    for setting in ("provisioning=0.02", "deletion=0.02", "wait_scale=0.001"):
        command += ["--set", setting]
    own = {"PATH": os.defpath, "HOME": str(tmp_path), "TMPDIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=own, cwd=tmp_path) as process:
        assert process.stdout is not None
        printed: dict[str, str] = {}
        for line in process.stdout:
            if line.startswith("# ready"):
                break
            name, _, value = shlex.split(line)[1].partition("=")
            printed[name] = value
        s3 = boto3.client(
            "s3",
            endpoint_url=printed["AWS_ENDPOINT_URL_S3"],
            aws_access_key_id=printed["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=printed["AWS_SECRET_ACCESS_KEY"],
            region_name=printed["AWS_REGION"],
        )
        s3.create_bucket(Bucket="clients")
        s3.upload_file(str(model.with_name("model.tar.gz")), "clients", "one/model.tar.gz")
        s3.close()
        yield printed
        process.terminate()


def run(program: Path, client: str, script: str, *arguments: str, exports: dict[str, str], home: Path) -> None:
    """Run a script in the environment of a client. Skip the test, by name, if the client is not installed."""
    if not program.exists():
        pytest.skip(f"{client} is not installed in {ENVIRONMENTS}: make clients")
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "AWS_EC2_METADATA_DISABLED": "true",
        "CLIENT_MODULES": str(ENVIRONMENTS / "javascript"),
    }
    done = subprocess.run(
        [program, SCRIPTS / script, *arguments],
        env={**environment, **exports},
        cwd=home,
        capture_output=True,
        text=True,
        timeout=1800,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert done.stdout.rstrip().endswith("done")


def python_of(client: str) -> Path:
    return ENVIRONMENTS / client / "bin" / "python"


@pytest.mark.parametrize("client", ["sagemaker3", "sagemaker-core"])
def test_a_client_of_sagemaker_deploys_and_invokes(client, exports, tmp_path):
    archive = "s3://clients/one/model.tar.gz"
    run(python_of(client), client, f"with_{client.replace('-', '_')}.py", archive, exports=exports, home=tmp_path)


def test_mlflow_deploys_and_invokes(exports, model, tmp_path):
    folder = tmp_path / "mlflow"
    shutil.copytree(model, folder)
    run(python_of("mlflow"), "mlflow", "with_mlflow.py", str(folder), exports=exports, home=tmp_path)


@pytest.mark.parametrize("server", [False, True], ids=["file", "server"])
def test_mlflow_syncs_and_deploys_through_the_plugin(server, tmp_path):
    with mlflow_server(tmp_path) if server else nullcontext({}) as exports:
        run(python_of("mlflow-plugin"), "mlflow-plugin", "with_mlflow_plugin.py", exports=exports, home=tmp_path)


@contextmanager
def mlflow_server(folder: Path) -> Iterator[dict[str, str]]:
    """Run an MLflow server, which also stores artifacts. Yield the variables of its clients."""
    python = python_of("mlflow-server")
    if not python.exists():
        pytest.skip(f"mlflow-server is not installed in {ENVIRONMENTS}: make clients")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    command = [python, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{folder}/server.db", "--artifacts-destination", folder / "served"]
    own = {"PATH": os.environ["PATH"], "HOME": str(folder), "MLFLOW_DISABLE_TELEMETRY": "true"}
    with (folder / "server.log").open("w") as log:
        server = subprocess.Popen(command, cwd=folder, env=own, stdout=log, stderr=log, start_new_session=True)
    try:
        while True:
            with suppress(subprocess.TimeoutExpired):
                raise AssertionError(f"{server.wait(0.2)} {(folder / 'server.log').read_text()[-3000:]}")
            with suppress(OSError), urlopen(f"http://127.0.0.1:{port}/health", timeout=60):
                break
        yield {"MLFLOW_TRACKING_URI": f"http://127.0.0.1:{port}"}
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait()


def test_langchain_invokes(exports, tmp_path):
    make_endpoint(exports)
    run(python_of("langchain"), "langchain-aws", "with_langchain.py", "doubles", exports=exports, home=tmp_path)


@pytest.mark.parametrize(
    ("client", "example", "answers"),
    [
        ("langchain", "langchain_chain", ["You wrote: Say hello to Ada.", "You wrote: Say hello."]),
        ("langchain", "langchain_aws_endpoint", ["You wrote: Say hello."]),
        ("litellm", "litellm_completion", ["You wrote: Say hello.", "You wrote: Say hello."]),
    ],
)
def test_an_example_for_language_models_answers(client, example, answers, tmp_path):
    program = [python_of(client), ROOT / "examples" / "llm" / f"{example}.py"]
    if not program[0].exists():
        pytest.skip(f"{client} is not installed in {ENVIRONMENTS}: make clients")
    own = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / "with_host.py", *program],
        env={**own, "AWS_EC2_METADATA_DISABLED": "true", "LITELLM_LOCAL_MODEL_COST_MAP": "True"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.stdout.splitlines() == answers, done.stdout[-3000:] + done.stderr[-3000:]


PARSE = """
import sys
from pathlib import Path
from airflow.dag_processing.dagbag import DagBag
folder = Path(sys.argv[1])
bag = DagBag(folder, bundle_path=folder, bundle_name="examples")
assert bag.import_errors == {}, bag.import_errors
print({name: sorted(task.task_id for task in dag.tasks) for name, dag in bag.dags.items()})
"""


def test_airflow_reads_the_dag(tmp_path):
    if not python_of("airflow").exists():
        pytest.skip(f"airflow is not installed in {ENVIRONMENTS}: make clients")
    done = subprocess.run(
        [python_of("airflow"), "-c", PARSE, ROOT / "examples" / "airflow"],
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "AIRFLOW_HOME": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.splitlines()[-1] == "{'daily_scores': ['pin', 'score_day']}"


def test_javascript_deploys_and_invokes(exports, model, tmp_path):
    modules = ENVIRONMENTS / "javascript" / "node_modules"
    node = Path(shutil.which("node") or "node") if modules.exists() else modules
    archive = str(model.with_name("model.tar.gz"))
    run(node, "AWS's SDK for JavaScript", "with_javascript.mjs", archive, exports=exports, home=tmp_path)


def make_endpoint(exports: dict[str, str]) -> None:
    """Create the endpoint `doubles`."""
    session = boto3.Session(
        aws_access_key_id=exports["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=exports["AWS_SECRET_ACCESS_KEY"],
        region_name=exports["AWS_REGION"],
    )
    client = session.client("sagemaker", endpoint_url=exports["AWS_ENDPOINT_URL"])
    client.create_model(
        ModelName="doubles",
        ExecutionRoleArn="arn:aws:iam::123456789012:role/sagemaker",
        PrimaryContainer={"Image": "pytorch-inference", "ModelDataUrl": "s3://clients/one/model.tar.gz"},
    )
    variant = {
        "VariantName": "v",
        "ModelName": "doubles",
        "InstanceType": "ml.m5.large",
        "InitialInstanceCount": 1,
    }
    client.create_endpoint_config(EndpointConfigName="doubles", ProductionVariants=[variant])
    client.create_endpoint(EndpointName="doubles", EndpointConfigName="doubles")
    client.get_waiter("endpoint_in_service").wait(EndpointName="doubles", WaiterConfig={"Delay": 1, "MaxAttempts": 60})
    client.close()
