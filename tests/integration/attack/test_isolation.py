"""What a hostile model reaches of its host: of keys, files, processes and other models nothing."""

# ruff: noqa: E501 - a script in each line

from __future__ import annotations

import io
import json
import os
import socket
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from mme_sdk.artifacts import pack
from mme_sdk.errors import InvalidInputError
from mme_sdk.local import ControlSettings, HostingSettings, LocalSageMaker
from mme_sdk.local.containers import landlock
from mme_sdk.local.hosting import isolation
from tests.support.paths import SUPPORT
from tests.support.processes import wait_until_gone

SCRIPT = (SUPPORT / "attack" / "prober.py").read_text()
ROLE = "arn:aws:iam::123456789012:role/SageMaker"
REFUSED = {"EACCES", "EPERM", "ENOENT", "PermissionError", "EXDEV", "ESRCH"}

linux = pytest.mark.skipif(landlock.version() < 6, reason="needs a kernel with Landlock 6")


class Attacker:
    """Two hostile models on one endpoint of an embedded host."""

    def __init__(self, host: LocalSageMaker, folder: Path) -> None:
        self.host = host
        self.bucket = f"models-{uuid.uuid4().hex[:12]}"
        s3, sm = host.boto("s3"), host.boto("sagemaker")
        self.runtime = host.boto("sagemaker-runtime")
        s3.create_bucket(Bucket=self.bucket)
        for name in ("one", "two"):
            source = folder / name
            (source / "code").mkdir(parents=True)
            (source / "code/inference.py").write_text(SCRIPT)
            (source / "weights").write_text(f"weights of {name}")
            packed = io.BytesIO()
            pack(source, packed)
            s3.put_object(Bucket=self.bucket, Key=f"{name}.tar.gz", Body=packed.getvalue())
        container = {"Image": "python", "Mode": "MultiModel", "ModelDataUrl": f"s3://{self.bucket}/"}
        sm.create_model(ModelName="m", PrimaryContainer=container, ExecutionRoleArn=ROLE)
        variant = {"VariantName": "v", "ModelName": "m", "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
        sm.create_endpoint_config(EndpointConfigName="c", ProductionVariants=[variant])
        sm.create_endpoint(EndpointName="e", EndpointConfigName="c")
        sm.get_waiter("endpoint_in_service").wait(EndpointName="e", WaiterConfig={"Delay": 1, "MaxAttempts": 120})
        s3.close()
        sm.close()

    def ask(self, *orders: tuple[str, Any], model: str = "one") -> list[tuple[str, Any]]:
        answer = self.runtime.invoke_endpoint(
            EndpointName="e",
            TargetModel=f"{model}.tar.gz",
            ContentType="application/json",
            Body=json.dumps(orders).encode(),
        )
        return [tuple(one) for one in json.loads(answer["Body"].read())]

    def one(self, verb: str, argument: Any = None, *, model: str = "one") -> Any:
        ((how, result),) = self.ask((verb, argument), model=model)
        assert how == "done", (verb, argument, how, result)
        return result


def started(folder: Path, **settings: Any) -> Iterator[Attacker]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_SECRET_ACCESS_KEY", "sekret-of-the-developer")
        patch.setenv("GITHUB_TOKEN", "sekret-of-the-developer")
        patch.setenv("HTTPS_PROXY", "http://user:sekret-of-the-developer@proxy:1")
        host = LocalSageMaker(
            folder / "data", control=ControlSettings(provisioning=0.05), settings=HostingSettings(**settings)
        )
        with host:
            attacker = Attacker(host, folder)
            yield attacker
            attacker.runtime.close()


@pytest.fixture(scope="module")
def attacker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attacker]:
    yield from started(tmp_path_factory.mktemp("isolated"))


def files_of_others(attacker: Attacker) -> list[str]:
    """Every file of the host's data, but those of model `one`."""
    assert attacker.host.data_dir is not None
    own = attacker.one("exec", "result = __import__('sys').path[0]")
    folder = Path(own).parent
    files = [one for one in attacker.host.data_dir.resolve().rglob("*") if one.is_file() and folder not in one.parents]
    return [str(one) for one in files]


@linux
def test_no_file_of_the_host_can_be_read_in_any_way(attacker: Attacker) -> None:
    attacker.one("list", ".", model="two")
    files = files_of_others(attacker)
    names = [Path(one).name for one in files]
    assert {"credentials.json", "state.sqlite", "isolation.json"} <= set(names)
    assert names.count("weights") == 1  # the other model's
    ways = ("read", "cat", "read_by_symlink", "read_by_hard_link", "read_from_folder", "read_after_chroot", "write")
    orders = [("read", one) for one in files]
    orders += [(way, one) for way in ways for one in files if Path(one).name in ("credentials.json", "weights")]
    orders += [
        ("list", str(attacker.host.data_dir)),
        ("list", str(Path.home())),
        ("mount", str(attacker.host.data_dir)),
    ]
    for order, (how, result) in zip(orders, attacker.ask(*orders), strict=True):
        assert how in REFUSED, (order, how, result)


@linux
def test_no_process_outside_can_be_read_traced_or_signalled(attacker: Attacker) -> None:
    neighbour = attacker.one("exec", "import os; result = os.getpid()", model="two")
    container = attacker.one("exec", "import os; result = os.getppid()")
    assert attacker.host._s3 is not None
    others = [os.getpid(), attacker.host._s3.pid, container, neighbour]
    of_proc = ("environ", "mem", "maps", "auxv", "fd/1", "cwd", "root/etc/hostname")
    orders: list[tuple[str, Any]] = []
    for pid in others:
        orders += [("list" if name == "cwd" else "read", f"/proc/{pid}/{name}") for name in of_proc]
        orders += [("signal", pid), ("trace", pid), ("steal_descriptor", pid)]
    for order, (how, result) in zip(orders, attacker.ask(*orders), strict=True):
        assert how in REFUSED, (order, how, result)
    with socket.socket(socket.AF_UNIX) as listening:
        name = f"mme-{uuid.uuid4().hex}"
        listening.bind("\0" + name)
        listening.listen()
        assert attacker.ask(("connect_abstract", name))[0][0] in REFUSED
    assert attacker.one("list", "/dev/shm") is not None  # it still answers


def test_no_secret_is_in_the_environment(attacker: Attacker) -> None:
    seen = json.dumps(attacker.one("environment"))
    keys = attacker.host.credentials
    for secret in ("sekret", keys.access_key, keys.secret_key, "AWS_", "GITHUB_TOKEN"):
        assert secret not in seen
    assert "PATH" in seen


def test_temporary_files_are_each_models_own_and_go_with_it(attacker: Attacker) -> None:
    mine = attacker.one("exec", "import tempfile; result = tempfile.mkdtemp()")
    other = attacker.one("exec", "import tempfile; result = tempfile.mkdtemp()", model="two")
    home = attacker.one("exec", "import os; result = [os.getcwd(), os.environ['HOME'], os.environ['TMPDIR']]")
    assert set(home) == {str(Path(mine).parent)}
    assert Path(mine).parent != Path(other).parent
    assert len(mine) < 70  # unix sockets are made there
    if landlock.version():
        assert attacker.ask(("list", other), ("write", f"{other}/x"), ("write", "/tmp/x")) == [("EACCES", "")] * 3


ORDINARY = {
    "numpy": "import numpy; result = float(numpy.linalg.norm(numpy.ones((3, 3))))",
    "scikit-learn": "from sklearn.linear_model import LinearRegression as L; L().fit([[1], [2]], [1, 2]); result = 1",
    "pandas": "import pandas; result = pandas.DataFrame({'a': [1]}).to_csv()",
    "parquet": "import io, pandas; b = io.BytesIO(); pandas.DataFrame({'a': [1]}).to_parquet(b); result = len(b.getvalue())",
    "xgboost": "import xgboost; result = xgboost.__version__",
    "lightgbm": "import lightgbm; result = lightgbm.__version__",
    "onnxruntime": "import onnxruntime; result = onnxruntime.get_available_providers()",
    "matplotlib": "import matplotlib; matplotlib.use('Agg'); import matplotlib.pyplot as p; p.plot([1]); p.savefig('a.png'); result = 1",
    "numba": "import numba; result = int(numba.njit(lambda x: x + 1)(1))",
    "temporary files": "import tempfile; f = tempfile.NamedTemporaryFile(); f.write(b'1'); f.flush(); result = open(f.name).read()",
    "rename": "import os; os.mkdir('d'); open('a', 'w').close(); os.rename('a', 'd/b'); os.truncate('d/b', 0); result = os.listdir('d')",
    "shared memory": "from multiprocessing import shared_memory as s; m = s.SharedMemory(create=True, size=9); m.close(); m.unlink(); result = 1",
    "locks": "import multiprocessing as m; l = m.Lock(); l.acquire(); l.release(); result = 1",
    "pool": "import multiprocessing as m; p = m.get_context('fork').Pool(2); result = p.map(abs, [-1, 2]); p.close(); p.join()",
    "manager": "import multiprocessing as m; x = m.get_context('fork').Manager(); d = x.dict(a=1); result = d['a']; x.shutdown()",
    "threads": "from concurrent.futures import ThreadPoolExecutor as T; result = list(T(2).map(abs, [-1]))",
    "time zones": "import zoneinfo, time; result = str(zoneinfo.ZoneInfo('Europe/Berlin')); time.localtime()",
    "certificates": "import ssl; ssl.create_default_context(); result = 1",
    "names of hosts": "import socket; result = socket.gethostbyname('localhost')",
    "processors": "import os; result = [os.cpu_count(), len(os.sched_getaffinity(0)), open('/sys/devices/system/cpu/online').read()]",
    "itself": "result = [open('/proc/self/status').read()[:9], open('/proc/self/environ').read()[:1], open('/proc/meminfo').read()[:9]]",
    "programs": "import subprocess, sys; result = subprocess.run([sys.executable, '-c', 'print(1)'], capture_output=True, text=True, check=True).stdout",
    "signals to itself": "import os, signal; signal.signal(signal.SIGUSR1, lambda *_: None); os.kill(os.getpid(), signal.SIGUSR1); result = 1",
    "children": "import subprocess; p = subprocess.Popen(['sleep', '60']); p.kill(); result = p.wait()",
    "users": "import getpass, os; result = [os.path.expanduser('~'), getpass.getuser()]",
    "devices": "open('/dev/null', 'w').write('x'); result = len(open('/dev/urandom', 'rb').read(3))",
    "a listener": "import socket; s = socket.create_server(('127.0.0.1', 0)); c = socket.create_connection(s.getsockname()); result = 1",
    "its own folder": "import sys, os; p = os.path.dirname(sys.path[0]) + '/cache'; open(p, 'w').write('x'); result = open(p).read()",
    "its own package": "import mme_sdk.runtime; result = 1",
}


@pytest.mark.parametrize("what", ORDINARY)
def test_an_ordinary_script_works(attacker: Attacker, what: str) -> None:
    assert attacker.one("exec", ORDINARY[what]) is not None


STARTS = """
import os, subprocess, sys
sleep = [sys.executable, "-c", "import signal; signal.signal(15, signal.SIG_IGN); signal.pause()"]
read, write = os.pipe()
for detached in (False, True):
    child = subprocess.Popen(sleep, start_new_session=detached)
    os.write(write, b"%d " % child.pid)
if os.fork() == 0:
    os.setsid()
    pid = os.fork()
    if pid == 0:
        os.execv(sleep[0], sleep)
    os.write(write, b"%d " % pid)
    os._exit(0)
os.wait()
os.close(write)
result = [int(one) for one in os.read(read, 4096).split()]
"""


@linux
@pytest.mark.parametrize("end", ["model", "container", "host"])
def test_what_a_model_started_ends_with_it(tmp_path: Path, end: str) -> None:
    for attacker in started(tmp_path):
        pids = attacker.one("exec", STARTS)
        others = attacker.one("exec", STARTS, model="two")
        assert len(pids) == len(others) == 3
        assert all(map(psutil.pid_exists, [*pids, *others]))
        if end == "model":
            with pytest.raises(attacker.runtime.exceptions.ModelError):
                attacker.one("exec", "__import__('os').kill(__import__('os').getpid(), 9)")
            wait_until_gone(pids)
            assert not any(map(psutil.pid_exists, pids))
            assert all(map(psutil.pid_exists, others))
        elif end == "container":
            assert attacker.host.hosting is not None
            for pid in attacker.host.hosting.inspect()[0].instances["i-0001"]:
                os.kill(pid, 9)
            wait_until_gone(pids)
            assert not any(map(psutil.pid_exists, pids))
    assert not any(map(psutil.pid_exists, [*pids, *others]))


@pytest.mark.slow
def test_isolation_can_be_switched_off_or_opened(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    data = tmp_path_factory.mktemp("features")
    (data / "table").write_text("features")
    for attacker in started(tmp_path / "open", readable=[data]):
        assert attacker.one("read", str(data / "table")) == "features"
        if landlock.version():
            assert attacker.ask(("write", str(data / "table"))) == [("EACCES", "")]
    for attacker in started(tmp_path / "off", isolate=False):
        assert attacker.host.data_dir is not None
        keys = json.loads(attacker.one("read", str(attacker.host.data_dir.resolve() / "credentials.json")))
        assert keys["secret_key"] == attacker.host.credentials.secret_key
    with pytest.raises(InvalidInputError, match="absolute"):
        HostingSettings(readable=("data",))
    with pytest.raises(InvalidInputError, match="list of paths"):
        HostingSettings(readable=3)  # type: ignore[arg-type]


def test_a_data_directory_inside_the_project_stays_closed(tmp_path: Path) -> None:
    """An editable project is on Python's path, and the host's data lies below it."""
    project = tmp_path.resolve()
    for name in ("src/package", "data/hosting", "data/s3", "data/.venv/lib"):
        (project / name).mkdir(parents=True)
    (project / "module.py").write_text("")
    (project / "data/credentials.json").write_text("{}")
    rules = isolation.policy(
        [sys.executable],
        hidden=project / "data",
        writable=(),
        readable=(project, project / "data/.venv", project / "data/s3"),
    )
    here = {one for one in rules["model"]["read"] if one.startswith(str(project))}
    assert here == {str(project / "src"), str(project / "module.py"), str(project / "data/.venv")}
    assert str(project) in rules["model"]["listed"]


def test_of_a_project_on_the_path_dot_files_stay_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = tmp_path.resolve()
    for name in ("package", ".git", ".mme/hosting"):
        (project / name).mkdir(parents=True)
    (project / ".env").write_text("KEY=sekret")
    monkeypatch.setattr(isolation, "_imports", lambda: ([str(project)], [], ""))
    rules = isolation.policy([sys.executable], hidden=project / ".mme", writable=())
    assert [one for one in rules["model"]["read"] if one.startswith(str(project))] == [str(project / "package")]


def test_without_landlock_the_log_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landlock, "version", lambda: 0)
    reason = landlock.apply({"read": [], "listed": [], "write": []})
    assert reason is not None
    assert "no Landlock" in reason
    monkeypatch.setattr(sys, "platform", "darwin")
    assert landlock.apply({}) == "darwin has no Landlock"
