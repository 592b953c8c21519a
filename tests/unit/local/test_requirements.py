"""Which requirements files share an environment, and what an error says about a missing package."""

from __future__ import annotations

from pathlib import Path

import pytest

from mme_sdk.local.containers import requirements
from mme_sdk.local.hosting.environments import cache_folder, digest

PLAIN = """# packages
tiny==1.0  # pinned
other[extra, more]>=2,<3; python_version > "3.8"
--extra-index-url https://example.com/simple
third @ https://example.com/third.whl
hashed==1.0 \\
    --hash=sha256:abc
"""


@pytest.mark.parametrize(
    ("text", "shared"),
    [
        (PLAIN, True),
        ("-r other.txt\n", False),
        ("--requirement=other.txt\n", False),
        ("-c other.txt\n", False),
        ("./wheels/tiny.whl\n", False),
        ("tiny-1.0-py3-none-any.whl\n", False),
        ("tiny @ file:///wheels/tiny.whl\n", False),
        ("--find-links wheels\n", False),
        ("-e .\n", False),
    ],
)
def test_the_files_beside_a_requirements_file_count_if_it_refers_to_files(
    text: str, shared: bool, tmp_path: Path
) -> None:
    made = set()
    for name, content in (("a", "1"), ("b", "2")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "requirements.txt").write_text(text)
        (tmp_path / name / "other.txt").write_text(content)
        made.add(digest(tmp_path / name / "requirements.txt", "python"))
    assert len(made) == (1 if shared else 2)
    assert digest(tmp_path / "a" / "requirements.txt", "another python") not in made


def test_the_requirements_file_of_a_model(tmp_path: Path) -> None:
    assert requirements.file_of(tmp_path) is None
    (tmp_path / "requirements.txt").touch()
    assert requirements.file_of(tmp_path) == tmp_path / "requirements.txt"
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "requirements.txt").touch()
    assert requirements.file_of(tmp_path) == tmp_path / "code" / "requirements.txt"
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "requirements.txt").touch()
    for submitted in ("/opt/ml/model/source", "file:///opt/ml/model/source", str(tmp_path / "source")):
        assert requirements.file_of(tmp_path, submitted) == tmp_path / "source" / "requirements.txt"


def test_an_error_says_what_to_do_about_a_missing_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, made = tmp_path / "model", tmp_path / "made"
    model.mkdir()
    made.mkdir()
    absent = ModuleNotFoundError("No module named 'x'", name="x")
    setting = "HostingSettings(install_requirements=True)"
    assert "list it in code/requirements.txt" in requirements.hint(absent, model)
    assert setting in requirements.hint(absent, model)
    assert requirements.hint(ValueError("x"), model) == requirements.hint(ImportError("cannot import"), model) == ""
    (model / "requirements.txt").touch()
    for error in (absent, ImportError("cannot import name 'y' from 'x'")):
        assert f"requirements.txt are not installed: set {setting}" in requirements.hint(error, model)
    requirements.link_of(model).symlink_to(made)
    assert requirements.environment(model) == made
    assert "add the missing package there" in requirements.hint(absent, model)
    monkeypatch.setenv("SAGEMAKER_SUBMIT_DIRECTORY", str(made))
    (made / "requirements.txt").touch()
    assert "The packages of requirements.txt of SAGEMAKER_SUBMIT_DIRECTORY" in requirements.hint(absent, model)
    (made / "requirements.txt").unlink()
    made.rmdir()
    assert requirements.environment(model) is None


def test_the_cache_folder(tmp_path: Path) -> None:
    assert cache_folder({"XDG_CACHE_HOME": str(tmp_path)}) == tmp_path / "mme-sdk" / "environments"
    for given in ({}, {"XDG_CACHE_HOME": "relative"}):
        assert cache_folder(given) == Path.home() / ".cache" / "mme-sdk" / "environments"
