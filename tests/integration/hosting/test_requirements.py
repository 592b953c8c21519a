"""Packages of a model's requirements.txt: installed into an environment of their own, or missed by name."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import attrs
import numpy as np
import pytest

from mme_sdk.local.containers import requirements
from mme_sdk.local.hosting.environments import Environments, RequirementsError
from mme_sdk.local.hosting_interface import HostingError
from tests.support.hosting.harness import BARE, Bench, error
from tests.support.wheels import sdist, wheel

Hosted = Callable[..., None]
IMAGES = {"python": attrs.evolve(BARE, isolated=True, requirements_for=sys.executable)}
SCRIPT = """
import subprocess, tiny
def model_fn(d): return tiny.answer
def input_fn(data, content_type): return data
def predict_fn(data, model):
    import numpy
    return [model, numpy.__version__, subprocess.run(["tiny-tool"], capture_output=True, text=True).stdout.strip()]
"""


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheels")
    for version in ("1.0", "2.0"):
        wheel(folder, "tiny", version, f"answer = 'tiny {version}'\ndef main(): print(answer)\n")
    wheel(folder, "numpy", "0.1", "__version__ = 'old numpy'\n")
    return folder


@pytest.fixture(autouse=True)
def _offline(wheels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


async def _upload(bench: Bench, name: str, text: str | None, script: str = SCRIPT) -> None:
    if text is not None:
        folder = bench.folder / "packing" / f"models_{name}.tar.gz" / "code"
        folder.mkdir(parents=True)
        (folder / "requirements.txt").write_text(text)
    await bench.upload(f"models/{name}.tar.gz", script=script)


async def _seen(bench: Bench, model: str | None, **endpoint: str) -> list[str]:
    answer = await bench.invoke(model, "1", content_type="application/json", **endpoint)
    assert answer.status == 200, answer.body
    seen: list[str] = json.loads(answer.body)
    return seen


def test_a_model_has_the_packages_of_its_own_file(hosted: Hosted) -> None:
    async def scenario(bench: Bench) -> None:
        await _upload(bench, "two", "tiny==2.0\nnumpy==0.1\n")
        await bench.deploy()
        # Not the numpy that the host has imported.
        assert await _seen(bench, "two.tar.gz") == ["tiny 2.0", "old numpy", "tiny 2.0"]

    hosted(scenario, install_requirements=True, images=IMAGES)


@pytest.mark.slow
def test_models_with_the_same_file_share_an_environment(hosted: Hosted, tmp_path: Path) -> None:
    cache = tmp_path / "cache" / "mme-sdk" / "environments"

    async def scenario(bench: Bench) -> None:
        await _upload(bench, "one", "tiny==1.0\n")
        await _upload(bench, "two", "tiny==2.0\n")
        await _upload(bench, "again", "tiny==1.0\n")
        await _upload(bench, "none", "absent-package==1.0\n")
        await bench.deploy()
        one = ["tiny 1.0", np.__version__, "tiny 1.0"]
        assert await _seen(bench, "one.tar.gz") == one
        assert await _seen(bench, "two.tar.gz") == ["tiny 2.0", np.__version__, "tiny 2.0"]
        before = set(cache.iterdir())
        assert await _seen(bench, "again.tar.gz") == one
        assert len(before) == 2
        _, code, message = error(await bench.invoke("none.tar.gz"))
        assert code == "ModelError"
        assert "absent-package" in message
        assert set(cache.iterdir()) == before
        with pytest.raises(HostingError, match="absent-package"):
            await bench.deploy("bad", mode="SingleModel", model_data_url=f"s3://{bench.bucket}/models/none.tar.gz")
        await bench.deploy("good", mode="SingleModel", model_data_url=f"s3://{bench.bucket}/models/one.tar.gz")
        assert await _seen(bench, None, endpoint="good") == one

    hosted(scenario, install_requirements=True, images=IMAGES)


def test_without_the_setting_the_error_names_package_and_setting(hosted: Hosted) -> None:
    late = "def model_fn(d): return 1\ndef predict_fn(x, m):\n    import tiny\n"

    async def scenario(bench: Bench) -> None:
        await _upload(bench, "listed", "tiny==1.0\n")
        await _upload(bench, "unlisted", None)
        await _upload(bench, "late", "tiny\n", late)
        await bench.deploy()
        for name in ("listed", "unlisted", "late"):
            answer = await bench.invoke(f"{name}.tar.gz", "1", content_type="application/json")
            message = error(answer)[2]
            assert "No module named 'tiny'" in message
            assert "HostingSettings(install_requirements=True)" in message
            assert "code/requirements.txt" in message

    hosted(scenario)


def _environments(tmp_path: Path, **more: object) -> Environments:
    return Environments(tmp_path / "environments", hidden=tmp_path / "hidden", isolate=True, **more)  # type: ignore[arg-type]


def _model(folder: Path, text: str, **files: str) -> Path:
    (folder / "model" / "code").mkdir(parents=True)
    for name, content in {"requirements.txt": text, **files}.items():
        (folder / "model" / "code" / name).write_text(content)
    return folder / "model"


@pytest.mark.slow
def test_links_and_other_files_of_a_requirements_file_are_found(
    tmp_path: Path, wheels: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PIP_FIND_LINKS")
    model = _model(tmp_path / "a", f"-r more.txt\n--find-links {wheels}\n", **{"more.txt": "tiny==2.0\n"})
    asyncio.run(_environments(tmp_path).prepare(model, sys.executable, tmp_path / "log"))
    (packages,) = requirements.site_packages(model)
    assert "tiny 2.0" in Path(packages, "tiny.py").read_text()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can isolate an installation")
def test_an_installation_reads_no_files_of_the_user(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    build = f"def build_wheel(*_, **__): raise SystemExit(open({str(tmp_path / 'secret')!r}).read())\n"
    sdist(tmp_path / "sources", "sly", "1.0", build)
    model = _model(tmp_path / "a", f"--find-links {tmp_path}/sources\nsly\n")
    with pytest.raises(RequirementsError, match=r"requirements\.txt failed with exit status 1"):
        asyncio.run(_environments(tmp_path).prepare(model, sys.executable, tmp_path / "log"))
    assert "PermissionError" in (tmp_path / "log").read_text()
    assert not list((tmp_path / "environments").iterdir())


@pytest.mark.slow
def test_a_killed_installation_leaves_nothing_that_is_used(tmp_path: Path, wheels: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    model = _model(tmp_path / "a", "tiny==1.0\n")
    code = f"""
import asyncio, pathlib, sys
from mme_sdk.local.hosting import environments
def move(folder, target):
    open({str(pipe)!r}, "w").close()  # everything is installed, and not yet renamed
    import signal; signal.pause()
environments._move_scripts = move
cache, nowhere = pathlib.Path({str(tmp_path / "environments")!r}), pathlib.Path("/nowhere")
made = environments.Environments(cache, hidden=nowhere, isolate=False)
asyncio.run(made.prepare(pathlib.Path({str(model)!r}), sys.executable, pathlib.Path({str(tmp_path / "log")!r})))
"""

    async def scenario() -> None:
        killed = await asyncio.create_subprocess_exec(sys.executable, "-c", code)
        await asyncio.to_thread(lambda: pipe.open().close())
        killed.send_signal(signal.SIGKILL)
        await killed.wait()
        (half,) = (tmp_path / "environments").iterdir()
        assert requirements.environment(model) is None
        first, second = (_environments(tmp_path) for _ in range(2))
        await asyncio.gather(*(one.prepare(model, sys.executable, tmp_path / "log") for one in (first, second)))
        (made,) = (tmp_path / "environments").iterdir()
        assert made != half
        assert requirements.environment(model) == made

    asyncio.run(scenario())
