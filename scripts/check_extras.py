"""Install the wheel with each extra alone into a clean environment, and use what the extra brings.

`python scripts/check_extras.py [EXTRA …]`; `make extras` runs it for all. `none` is the wheel without an extra. It
needs a package index and, for all extras, some gigabytes on the disk: an environment is removed before the next one.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
USES = {
    "none": "from mme_sdk import MMEClient; MMEClient(region='eu-west-1').close()",
    "cli": "from mme_sdk.cli.main import run; assert run(['--version']) == 0",
    "local": (
        "from mme_sdk.local import LocalSageMaker\n"
        "with LocalSageMaker() as host: assert host.boto('sagemaker').list_models()['Models'] == []"
    ),
    "fast": "import isal, uvloop, mme_sdk.artifacts",
    "planning": (
        "from mme_sdk.planning import Workload, load_prices, plan\n"
        "print(plan(Workload.from_rates({'a': 1.0, 'b': 0.1})), len(load_prices()))"
    ),
    "planning-fast": "import numba; from mme_sdk.planning import Workload, plan; plan(Workload.from_rates({'a': 1.0}))",
    "plot": "import matplotlib.pyplot, mme_sdk",
    "yaml": (
        "from mme_sdk import EndpointSpec\n"
        "spec = EndpointSpec.multi_model(name='a', models='s3://ml-models/c/', image='i:1', "
        "instance_type='ml.m5.large', role='arn:aws:iam::123456789012:role/r')\n"
        "spec.to_yaml('spec.yaml'); assert EndpointSpec.from_yaml('spec.yaml') == spec"
    ),
    "pandas": (
        "import pandas, pyarrow; from mme_sdk.runtime import Codecs\n"
        "assert Codecs().encode(pandas.DataFrame({'a': [1]}), 'application/x-parquet')[0][:4] == b'PAR1'"
    ),
    "otel": "from mme_sdk.runtime import otel_hook; otel_hook()",
    "prometheus": "from mme_sdk.runtime import prometheus_hook; prometheus_hook()",
    "progress": "import tqdm, mme_sdk",
    "shared": "import redis; from mme_sdk.runtime import Memory, Shared; Memory(shared=Shared('redis://127.0.0.1'))",
    "sklearn": (
        "from sklearn.linear_model import LinearRegression; from mme_sdk.artifacts import save\n"
        "assert save(LinearRegression().fit([[0.0], [1.0]], [0, 1]), '.').suffix == '.skops'"
    ),
    "xgboost": (
        "import numpy; from xgboost import Booster, DMatrix, train; from mme_sdk.artifacts import save\n"
        "save(train({}, DMatrix(numpy.array([[0.0], [1.0]]), [0, 1]), 1), '.')"
    ),
    "lightgbm": (
        "import numpy; from lightgbm import Dataset, train; from mme_sdk.artifacts import save\n"
        "save(train({'verbose': -1}, Dataset(numpy.eye(40), list(range(40))), 1), '.')"
    ),
    "catboost": (
        "from catboost import CatBoostRegressor; from mme_sdk.artifacts import save\n"
        "save(CatBoostRegressor(iterations=1, verbose=False).fit([[0], [1]], [0, 1]), '.')"
    ),
    "onnx": "import onnxruntime, numpy, mme_sdk.artifacts",
    "torch": "import torch, mme_sdk.artifacts",
    "tensorflow": "import tensorflow, requests, mme_sdk.artifacts",
    "huggingface": "import torch, transformers, mme_sdk.artifacts",
    "spark": "import pyspark, pandas, pyarrow, mme_sdk.scale.spark",
    "ray": "import ray.data, pandas, pyarrow, mme_sdk.scale.ray",
    "dask": "import dask.dataframe, distributed, pandas, mme_sdk.scale.dask",
}
"""A program for each extra. It fails without the packages of the extra."""


def extras() -> list[str]:
    """Return the extras of the package, and `none`."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return ["none", *project["optional-dependencies"]]


def attempt(command: list[str], folder: Path) -> str | None:
    """Run a command. Return the end of its output if it fails, else None."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return None if done.returncode == 0 else (done.stdout + done.stderr).strip()[-2000:] or "it failed without output"


def problems(extra: str, wheel: Path, *, others: list[str]) -> list[str]:
    """Install the wheel with one extra, and return what is wrong.

    Args:
        extra: Name of the extra, or `none`.
        wheel: The wheel.
        others: Extras whose programs must fail in this environment.
    """
    with tempfile.TemporaryDirectory(prefix="mme-extra-") as name:
        folder = Path(name)
        python = str(folder / "env" / "bin" / "python")
        wanted = str(wheel) if extra == "none" else f"{wheel}[{extra}]"
        for command in (
            [sys.executable, "-m", "venv", "--without-pip", str(folder / "env")],
            [sys.executable, "-m", "pip", "--quiet", "--python", python, "install", wanted],
            [sys.executable, "-m", "pip", "--python", python, "check"],
            [python, "-W", "error::DeprecationWarning:mme_sdk", "-c", USES[extra]],
        ):
            if (said := attempt(command, folder)) is not None:
                return [f"{extra}: {' '.join(command[:4])} …: {said}"]
        passing = [other for other in others if attempt([python, "-c", USES[other]], folder) is None]
        return [f"the program of {other} also works without the extra" for other in passing]


def main() -> int:
    """Check the named extras, or all; return 1 if one has a problem."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("extra", nargs="*", choices=[[], *extras()], default=[])
    named = parser.parse_args().extra or extras()
    failed = False
    with tempfile.TemporaryDirectory(prefix="mme-wheel-") as folder:
        build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, str(ROOT)]
        subprocess.run(build, check=True)
        (wheel,) = Path(folder).glob("*.whl")
        for extra in named:
            others = [other for other in named if other != "none"] if extra == "none" else []
            found = problems(extra, wheel, others=others)
            print(f"{extra:14} {found or 'ok'}", flush=True)
            failed = failed or bool(found)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
