"""The page docs/gallery.md lists each file of examples/, and its commands name files that exist."""

from __future__ import annotations

import ast
import re
import shlex
import sys
import tomllib

import pytest

from tests.support.paths import ROOT

PAGE = (ROOT / "docs" / "gallery.md").read_text(encoding="utf-8")
COMMANDS = [
    shlex.split(line)
    for block in re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL)
    for line in re.findall(r"^\$ (.+)$", block, re.MULTILINE)
]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
BROUGHT = {"sklearn": "scikit-learn", "pendulum": "apache-airflow"}  # what installs a module of another name
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


def installed(text: str) -> str:
    """Return what the `pip install` commands of a text install, with the requirements of mme-sdk's extras."""
    packages = " ".join(re.findall(r"pip install ([^`\n]+)", text))
    extras = [extra for group in re.findall(r"mme-sdk\[([\w,-]+)\]", packages) for extra in group.split(",")]
    return " ".join([packages, *(one for extra in extras for one in PROJECT["optional-dependencies"][extra])])


def imported(path: str) -> set[str]:
    """Return the distributions that a program imports, without those of the standard library and of its own folder."""
    file = ROOT / path
    nodes = list(ast.walk(ast.parse(file.read_text(encoding="utf-8"))))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
    own = {one.stem for folder in (file.parent, file.parent.parent) for one in folder.glob("*.py")}
    modules = {name.partition(".")[0] for name in names} - own - set(sys.stdlib_module_names) - {"mme_sdk"}
    return {BROUGHT.get(name, name).replace("_", "-") for name in modules}


@pytest.mark.parametrize("section", PAGE.split("\n## ")[1:], ids=lambda text: text.partition("\n")[0])
def test_a_section_names_the_packages_that_its_programs_need(section: str) -> None:
    available = installed(PAGE.partition("\n## ")[0]) + installed(section) + " ".join(PROJECT["dependencies"])
    rows = "".join(re.findall(r"^\|.+$", section, re.MULTILINE))
    needed = {name for path in re.findall(r"`(examples/[\w./-]+\.py)`", rows) for name in imported(path)}
    needed |= set(re.findall(r"(?:with_host\.py|&&) (?!python)(\w+)", section))  # the programs that its commands start
    assert {name for name in needed if name not in available} == set()
