"""Synchronous facades and their asynchronous twins: the same methods and options, and docstrings of their own world."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import runpy
import textwrap
from typing import Any

import pytest

from tests.support.paths import ROOT

MODULES = ["", ".endpoints", ".registry", ".runtime", ".runtime.transport", ".protocols"]
TWINS: dict[str, str] = runpy.run_path(str(ROOT / "scripts" / "unasync.py"))["TWINS"]
_EXAMPLE = re.compile(r"```python\n(.*?)```", re.DOTALL)
# SageMaker's asynchronous inference has nothing to do with asyncio.
_ASYNC = re.compile(
    r"\bawait\w*|\b[Aa]syncio\b|\b[Ee]vent loop|\b[Tt]asks?\b|\b[Cc]oroutine|\basync (with|for|def)\b"
    r"|\bAsync(?!Inference)[A-Z]|\b[Aa]synchronous(?! inference)"
)


def _pairs() -> list[tuple[type, type]]:
    found: dict[str, tuple[type, type]] = {}
    for name in MODULES:
        module = importlib.import_module(f"mme_sdk{name}")
        for public in module.__all__:
            twin = public.removeprefix("Async")
            if twin != public and hasattr(module, twin):
                found[twin] = (getattr(module, twin), getattr(module, public))
    return list(found.values())


def docstrings(target: str) -> list[tuple[str, str]]:
    """Every docstring of a module, with the name of what it documents."""
    tree = ast.parse((ROOT / "mme_sdk" / target).read_text(encoding="utf-8"))
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    return [
        (f"{target}: {getattr(node, 'name', 'module')}", text)
        for node in ast.walk(tree)
        if isinstance(node, kinds) and (text := ast.get_docstring(node))
    ]


def examples(target: str) -> list[tuple[str, ast.Module]]:
    """Every example in the docstrings of a module. It must be valid Python."""
    flags = ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    return [
        (name, compile(textwrap.dedent(code), name, "exec", flags))
        for name, text in docstrings(target)
        for code in _EXAMPLE.findall(text)
    ]


def not_awaited(tree: ast.Module, coroutines: set[str]) -> list[str]:
    """The calls of coroutine methods in an example that nothing awaits."""
    awaited = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Await)}
    return [
        ast.unparse(node)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in coroutines
        and id(node) not in awaited
    ]


def _coroutines() -> set[str]:
    """Methods of the public asynchronous classes that must be awaited, wherever the name occurs."""
    names: dict[str, set[bool]] = {}
    for _, twin in _pairs():
        for name, method in inspect.getmembers(twin, inspect.isfunction):
            names.setdefault(name, set()).add(inspect.iscoroutinefunction(method))
    return {name for name, kinds in names.items() if kinds == {True}}


@pytest.mark.parametrize(("sync", "twin"), _pairs(), ids=lambda kind: kind.__name__)
def test_twins_have_the_same_methods_and_options(sync: type, twin: type) -> None:
    names = [{name for name in dir(kind) if not name.startswith("_")} for kind in (sync, twin)]
    assert names[0] == names[1]
    for name in (*names[0], "__init__"):
        methods = [inspect.getattr_static(kind, name) for kind in (sync, twin)]
        if all(map(inspect.isfunction, methods)):
            one, other = (inspect.signature(method).parameters.values() for method in methods)
            assert [_facts(parameter) for parameter in one] == [_facts(parameter) for parameter in other], name


def _facts(parameter: inspect.Parameter) -> tuple[Any, ...]:
    default = "a function" if inspect.isfunction(parameter.default) else parameter.default
    return parameter.name, parameter.kind, default


@pytest.mark.parametrize("target", TWINS.values())
def test_a_synchronous_docstring_does_not_speak_of_asyncio(target: str) -> None:
    found = {name: match[0] for name, text in docstrings(target) if (match := _ASYNC.search(text))}
    assert not found
    for name, tree in examples(target):
        kinds = (ast.Await, ast.AsyncWith, ast.AsyncFor)
        assert not any(isinstance(node, kinds) for node in ast.walk(tree)), name


@pytest.mark.parametrize("target", TWINS)
def test_an_asynchronous_example_awaits_what_must_be_awaited(target: str) -> None:
    coroutines = _coroutines()
    for name, tree in examples(target):
        assert not_awaited(tree, coroutines) == [], name


def test_what_is_wrong_is_found() -> None:
    assert not_awaited(ast.parse("reply = endpoint.invoke(1)"), _coroutines()) == ["endpoint.invoke(1)"]
    assert _ASYNC.search("Asynchronous handle of one endpoint.")
    assert not _ASYNC.search("An asynchronous inference.")


def test_every_example_in_the_package_is_valid_python() -> None:
    found = [examples(path.relative_to(ROOT / "mme_sdk").as_posix()) for path in (ROOT / "mme_sdk").rglob("*.py")]
    assert sum(map(len, found)) > 20, "examples raises SyntaxError for one that does not compile"
