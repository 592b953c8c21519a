"""The page docs/gallery.md lists each file of examples/, and its commands name files that exist."""

from __future__ import annotations

import re
import shlex

import pytest

from tests.support.paths import ROOT

PAGE = (ROOT / "docs" / "gallery.md").read_text(encoding="utf-8")
COMMANDS = [
    shlex.split(line)
    for block in re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL)
    for line in re.findall(r"^\$ (.+)$", block, re.MULTILINE)
]
LEFT_OUT = {"__pycache__", ".pytest_cache", ".ipynb_checkpoints"}


def test_each_file_of_the_examples_is_in_the_gallery() -> None:
    rows = "".join(re.findall(r"^\| `examples/.+$", PAGE, re.MULTILINE))
    listed = re.findall(r"`(examples/[\w./-]+)`", rows)
    files = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "examples").rglob("*")
        if path.is_file() and not LEFT_OUT & set(path.parts)
    }
    assert set(listed) == files
    assert len(listed) == len(files)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_command_names_files_that_exist(command: list[str]) -> None:
    if command[0] in {"python", "docker"}:
        assert "examples/" in " ".join(command)
    for word in command:
        if word.startswith("examples/"):
            assert (ROOT / word).exists(), word
    if "--app-dir" in command or "--chdir" in command:
        module = next(word for word in command if word.endswith(":app")).removesuffix(":app")
        assert (ROOT / "examples" / "web" / f"{module}.py").exists()


def test_each_program_with_a_main_has_a_command() -> None:
    programs = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "examples").rglob("*.py")
        if 'if __name__ == "__main__":' in path.read_text(encoding="utf-8")
    }
    engines = {f"examples/scale/{name}_table.py" for name in ("dask", "ray", "spark")}  # their pages have the commands
    assert programs - engines <= {word for command in COMMANDS for word in command}
