"""Install the wheel with each extra alone into a clean environment, and use what the extra brings.

`python scripts/check_extras.py [--write] [EXTRA …]`; `make extras` runs it for all. `none` is the wheel without an
extra. The programs are in `scripts/extras`. Where an extra is missing, the error must name it: `MISSING` has the
programs for that. `--write` renews the rows of the table in docs/compatibility.md. It needs a package index and, for
all extras, some gigabytes on the disk:
an environment is removed before the next one. uv installs if it is there, else pip.
"""

from __future__ import annotations

import argparse
import ast
import datetime
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

import attrs

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "compatibility.md"
BEGIN, END = "<!-- make extras -->\n", "<!-- end of make extras -->\n"
_FORMATS = "from pathlib import Path; from mme_sdk.local.containers.python.formats import find, load\n"
_FILE = _FORMATS + "Path('m').mkdir(exist_ok=True); Path('m/{0}').write_bytes({1})\n"
_FILE += "kind, path = find(Path('m')); load(path, kind.load)"
_OWN = "import runpy, sys; sys.path.insert(0, {0!r}); runpy.run_path({0!r} + '/use_{1}.py')"
_COMMAND = """
import sys
from pathlib import Path
from mme_sdk.cli.main import run
for name in ("trace.csv", "rows.csv"):
    Path(name).write_text("a\\n1\\n")
sys.exit(run({}))
"""
_SCORE = "import mme_sdk.scale.{0}; mme_sdk.scale.{0}.score(None, None, buckets=1)"
_PLOT = "from mme_sdk.planning import Workload, plan; plan(Workload.from_rates({'a': 1.0})).plot()"
MISSING = {
    "none": {
        "cli": "import sys; from mme_sdk.cli.__main__ import main; sys.exit(main(['--version']))",
        "local": "from mme_sdk.local import LocalSageMaker; LocalSageMaker().__enter__()",
        "planning": "import mme_sdk.planning",
        "yaml": "from mme_sdk import EndpointSpec; EndpointSpec.from_yaml('spec.yaml')",
        "pandas": (
            "from mme_sdk import MMEClient\n"
            "client = MMEClient(region='eu-west-1', endpoint_url='http://127.0.0.1:1')\n"
            "client.endpoint('a').invoke_frame(None)"
        ),
        "otel": "from mme_sdk.runtime import otel_hook; otel_hook()",
        "prometheus": "from mme_sdk.runtime import prometheus_hook; prometheus_hook()",
        "progress": (
            "from mme_sdk import MMEClient\n"
            "client = MMEClient(region='eu-west-1', endpoint_url='http://127.0.0.1:1')\n"
            "list(client.endpoint('a').invoke_many([('a', b'')], progress=True))"
        ),
        "mlflow": (
            "from mme_sdk import MMEClient; from mme_sdk.integrations.mlflow import sync_registry\n"
            "client = MMEClient(region='eu-west-1', endpoint_url='http://127.0.0.1:1')\n"
            "sync_registry(client.models('s3://ml-models/prod/'))"
        ),
        "shared": _OWN.format(str(ROOT / "scripts" / "extras"), "shared"),
        "sklearn": _FILE.format("model.skops", "b''"),
        "xgboost": _FILE.format("model.ubj", "b''"),
        "lightgbm": _FILE.format("model.lgb", "b''"),
        "catboost": _FILE.format("model.cbm", "b''"),
        "onnx": _FILE.format("model.onnx", "b''"),
        "torch": _FILE.format("model.pt", "b''"),
        "tensorflow": (
            "from pathlib import Path; from mme_sdk.local.containers.python.images.saved_models import SavedModels\n"
            "SavedModels(Path('m'), ['1/saved_model.pb'])"
        ),
        "huggingface": (
            "from pathlib import Path; from mme_sdk.local.containers.python.images.huggingface import functions\n"
            'Path(\'config.json\').write_text(\'{"architectures": ["BertForMaskedLM"]}\'); functions()["model_fn"](".")'
        ),
        "spark": _SCORE.format("spark"),
        "ray": _SCORE.format("ray"),
        "dask": _SCORE.format("dask"),
    },
    "cli": {
        "planning": _COMMAND.format("['plan', 'trace.csv']"),
        "local": _COMMAND.format("['local', 'up']"),
        "pandas": _COMMAND.format("['batch', '--endpoint', 'a', '--model', 'a', 'rows.csv', 'out.csv']"),
    },
    "planning": {"planning-fast": _OWN.format(str(ROOT / "scripts" / "extras"), "planning_fast"), "plot": _PLOT},
}
"""Programs that need an extra, by the extra of the environment that they run in. Each fails and names what it needs."""


@attrs.frozen
class Result:
    """What came of one extra.

    Attributes:
        extra: Its name, or `none`.
        problems: What is wrong; empty if nothing is.
        packages: Number of distributions in the environment, with mme-sdk.
        megabytes: Size of the environment without compiled bytecode, 10^6 bytes.
        seconds: Processor time of the installation and the programs.
    """

    extra: str
    problems: list[str]
    packages: int
    megabytes: float
    seconds: float

    @property
    def row(self) -> str:
        """The row of the table."""
        today = datetime.datetime.now(tz=datetime.UTC).date()
        state = "works" if not self.problems else "fails"
        said = summary(program(self.extra))
        figures = f"{self.packages} | {self.megabytes:,.0f} | {self.seconds:,.0f}"
        return f"| `{self.extra}` | {said} | {state} | {figures} | {today} |\n"


def extras() -> list[str]:
    """Return the extras of the package, and `none`."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return ["none", *project["optional-dependencies"]]


def program(extra: str) -> Path:
    """Return the program that uses an extra."""
    return ROOT / "scripts" / "extras" / f"use_{extra.replace('-', '_')}.py"


def summary(path: Path) -> str:
    """Return the first line of a program's docstring, without the full stop."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return text.partition("\n")[0].removesuffix(".")


def attempt(command: list[str], folder: Path) -> str | None:
    """Run a command. Return the end of its output if it fails, else None."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return None if done.returncode == 0 else (done.stdout + done.stderr).strip()[-2000:] or "it failed without output"


def unnamed(python: str, needed: dict[str, str], folder: Path) -> list[str]:
    """Run programs that need further extras, and return what is wrong with their errors.

    Args:
        python: The interpreter of the environment.
        needed: Programs by the extra that they need.
        folder: Where they run.
    """
    found = []
    for extra, code in needed.items():
        (folder / extra).mkdir()
        said = attempt([python, "-c", code], folder / extra)
        if said is None:
            found.append(f"the program of {extra} works without the extra")
        elif f"mme-sdk[{extra}]" not in said:
            found.append(f"the error without the extra {extra} does not name mme-sdk[{extra}]: {said[-500:]}")
    return found


def installer(command: str, python: str, *arguments: str) -> list[str]:
    """Return a command of uv if it is installed, else of pip.

    Args:
        command: Such as `install`.
        python: The interpreter of the environment.
        arguments: The rest.
    """
    if shutil.which("uv"):
        return ["uv", "pip", command, "--python", python, *arguments]
    compiled = ["--no-compile"] if command == "install" else []
    return [sys.executable, "-m", "pip", "--python", python, command, *compiled, *arguments]


def check(extra: str, wheel: Path) -> Result:
    """Install the wheel with one extra, and use it.

    Args:
        extra: Name of the extra, or `none`.
        wheel: The wheel.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    problems: list[str] = []
    with tempfile.TemporaryDirectory(prefix="mme-extra-") as name:
        folder = Path(name)
        python = str(folder / "env" / "bin" / "python")
        wanted = str(wheel) if extra == "none" else f"{wheel}[{extra}]"
        for command in (
            [sys.executable, "-m", "venv", "--without-pip", str(folder / "env")],
            installer("install", python, "--quiet", wanted),
            installer("check", python),
        ):
            if (said := attempt(command, folder)) is not None:
                problems.append(f"{' '.join(command[:5])} …: {said}")
                break
        site = next((folder / "env").glob("lib/python*/site-packages"))
        packages = len(list(site.glob("*.dist-info")))
        size = sum(path.stat().st_size for path in site.rglob("*") if path.is_file() and path.suffix != ".pyc")
        if not problems:
            # The programs run in a folder of their own, so that the repository is not imported.
            run = folder / "run"
            run.mkdir()
            used = attempt([python, "-W", "error::DeprecationWarning:mme_sdk", str(program(extra))], run)
            if used is not None:
                problems.append(f"{program(extra).name}: {used}")
            problems.extend(unnamed(python, MISSING.get(extra, {}), run))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Result(extra, problems, packages, size / 1e6, seconds)


def renewed(page: str, results: list[Result]) -> str:
    """Return the page with the rows of these results, and the other rows as they are.

    Args:
        page: Text of docs/compatibility.md.
        results: What came of some extras.
    """
    head, _, rest = page.partition(BEGIN)
    table, _, tail = rest.partition(END)
    rows = {found[1]: found[0] for found in re.finditer(r"^\| `([\w-]+)` \|.*\n", table, re.MULTILINE)}
    rows |= {one.extra: one.row for one in results}
    title = "| extra | what was run | | packages | MB | seconds | |\n| --- | --- | --- | ---: | ---: | ---: | --- |\n"
    return head + BEGIN + title + "".join(rows[name] for name in extras() if name in rows) + END + tail


def main() -> int:
    """Check the named extras, or all; return 1 if one has a problem."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("extra", nargs="*", choices=[[], *extras()], default=[])
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    results = []
    with tempfile.TemporaryDirectory(prefix="mme-wheel-") as folder:
        build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, str(ROOT)]
        subprocess.run(build, check=True)
        (wheel,) = Path(folder).glob("*.whl")
        for extra in given.extra or extras():
            one = check(extra, wheel)
            results.append(one)
            state = "\n".join(one.problems) or "ok"
            print(
                f"{extra:14} {one.packages:4} packages {one.megabytes:6,.0f} MB {one.seconds:5,.0f} s  {state}",
                flush=True,
            )
            if given.write:
                PAGE.write_text(renewed(PAGE.read_text(encoding="utf-8"), [one]), encoding="utf-8")
    return int(any(one.problems for one in results))


if __name__ == "__main__":
    sys.exit(main())
