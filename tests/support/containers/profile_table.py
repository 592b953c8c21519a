"""The table of profiles and content types of docs/local.md, as real containers answer.

`python -m tests.support.containers.profile_table` writes it into the page.
"""

from __future__ import annotations

import io
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from sklearn.linear_model import LinearRegression

from mme_sdk.artifacts.profiles import Profile, known
from tests.support.containers import fake_tensorflow
from tests.support.containers.harness import running, script
from tests.support.paths import ROOT

PAGE = ROOT / "docs/local.md"
BEGIN, END = "<!-- profiles: written by tests/support/containers/profile_table.py -->", "<!-- end of profiles -->"
JSON, CSV, NPY, LINES = "application/json", "text/csv", "application/x-npy", "application/jsonlines"
TYPES = (JSON, CSV, NPY, LINES, "text/libsvm", "application/x-parquet", "audio/wave", "text/plain")
ACCEPTS = ("*/*", JSON, CSV, NPY, LINES, "text/html")
# Enough of torch for a model that returns its input.
_TORCH = """
import contextlib
no_grad, from_numpy = contextlib.nullcontext, lambda array: array
"""


def profiles() -> list[Profile]:
    """Return the profiles that the Python container serves."""
    return [one for one in known() if one.name != "triton"]


def written() -> str:
    """Return the table of the page."""
    return PAGE.read_text().partition(BEGIN)[2].partition(END)[0].strip()


def seen() -> str:
    """Ask containers of all profiles; return the table."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = fake_tensorflow.install(folder / "packages")
        (folder / "packages/torch.py").write_text(_TORCH)
        packages = os.pathsep.join([path, *filter(None, sys.path)])
        columns = []
        for profile in profiles():
            directory = _model(folder / profile.name, profile)
            columns.append([_column(directory, profile, packages, multi_model=many) for many in (True, False)])
    head = ["", *(profile.name for profile in profiles())]
    rows = [head, ["---"] * len(head)]
    for at, title in enumerate([f"`{one}`" for one in TYPES] + [f"Accept: `{one}`" for one in ACCEPTS]):
        rows.append([title, *(_cell(many[at], single[at]) for many, single in columns)])
    return "\n".join(f"| {' | '.join(row)} |".replace("|  |", "| |") for row in rows)


def _cell(many: str, single: str) -> str:
    return many if many == single else f"multi-model: {many}; single-model: {single}"


def _model(directory: Path, profile: Profile) -> Path:
    match profile.name:
        case "xgboost":
            import xgboost

            directory.mkdir()
            booster = xgboost.train({"nthread": 1}, xgboost.DMatrix(np.array([[0.0, 1.0], [1.0, 0.0]]), [0, 1]), 2)
            (directory / "xgboost-model").write_bytes(bytes(booster.save_raw("ubj")))
        case "tensorflow":
            (directory / "1").mkdir(parents=True)
            (directory / "1/saved_model.pb").write_text("2")
        case "pytorch":
            script(directory, "def model_fn(model_dir):\n    return lambda rows: rows\n")
        case "huggingface":
            source = "def model_fn(model_dir): pass\ndef predict_fn(data, model): return [{'score': 0.5}]\n"
            script(directory, source)  # a pipeline does not take arrays
        case _:
            directory.mkdir()
            joblib.dump(LinearRegression().fit([[0.0, 0.0], [1.0, 1.0]], [0.0, 1.0]), directory / "model.joblib")
    return directory


def _bodies(profile: Profile) -> dict[str, bytes]:
    import pandas as pd

    npy, parquet = io.BytesIO(), io.BytesIO()
    np.save(npy, np.array([[1.0, 2.0]]))
    pd.DataFrame({"a": [1.0], "b": [2.0]}).to_parquet(parquet)
    pipeline = profile.name == "huggingface"
    own = {"huggingface": b'{"inputs": "a"}', "tensorflow": b'{"instances": [[1, 2]]}'}
    return {
        JSON: own.get(profile.name, b"[[1, 2]]"),
        CSV: b"inputs\na\n" if pipeline else b"1,2",
        NPY: npy.getvalue(),
        LINES: b"[1, 2]",
        "text/libsvm": b"0:1 1:2",
        "application/x-parquet": parquet.getvalue(),
        "audio/wave": b"RIFF",
        "text/plain": b"a",
    }


def _column(directory: Path, profile: Profile, packages: str, *, multi_model: bool) -> list[str]:
    image = profile.images[0].replace("*", "x") if profile.name != "any" else "own/server:1"
    environment = {**os.environ, "MME_IMAGE": image, "PYTHONPATH": packages}
    arguments = () if multi_model else ("--model", str(directory))
    bodies = _bodies(profile)
    with running(*arguments, "--preload", "", env=environment) as container:
        container.healthy()
        path = "/models/m/invoke" if multi_model else "/invocations"
        if multi_model:
            status, said = container.load("m", directory)
            assert status == 200, said

        def ask(content_type: str, accept: str) -> tuple[int, Any]:
            headers = {"Content-Type": content_type, "Accept": accept}
            status, _, given = container.ask("POST", path, bodies[content_type], headers)
            return status, given.get("content-type")

        answers = []
        for content_type in TYPES:
            status, _ = ask(content_type, "*/*")
            official = not profile.accepts or content_type in profile.accepts
            answers.append(str(status) if status != 200 else "yes" if official else "here only")
        first = profile.accepts[0] if profile.accepts else JSON
        for accept in ACCEPTS:
            status, media = ask(first, accept)
            answers.append(f"`{media}`" if status == 200 else str(status))
    return answers


def main() -> None:
    """Write the table into the page."""
    text = PAGE.read_text()
    before, _, rest = text.partition(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n{seen()}\n{END}{rest.partition(END)[2]}")


if __name__ == "__main__":
    main()
