"""Every public name is documented: what it does, each argument, what it returns and raises."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import re
from collections.abc import Iterator
from typing import Any

import attrs
import pytest

MODULES = (
    "mme_sdk",
    "mme_sdk.config",
    "mme_sdk.errors",
    "mme_sdk.protocols",
    "mme_sdk.types",
    "mme_sdk.artifacts",
    "mme_sdk.registry",
    "mme_sdk.endpoints",
    "mme_sdk.runtime",
    "mme_sdk.metrics",
    "mme_sdk.fleet",
    "mme_sdk.planning",
    "mme_sdk.scale",
    "mme_sdk.integrations.mlflow",
    "mme_sdk.local",
    "mme_sdk.testing",
)
_SECTION = re.compile(r"^(Args|Attributes|Returns|Yields|Raises|Example|Examples|Note):$", re.MULTILINE)
_ENTRY = re.compile(r"^ {4}\*{0,2}(\w+(?:, \*{0,2}\w+)*)(?: \([^)]*\))?: \S", re.MULTILINE)


def _public() -> Iterator[tuple[str, Any]]:
    """Each public function, class and method, once, with the name under which a user finds it."""
    seen: set[int] = set()
    for module_name in MODULES:
        module = importlib.import_module(module_name)
        for name in module.__all__:
            value = getattr(module, name)
            if id(value) in seen or not (inspect.isclass(value) or inspect.isfunction(value)):
                continue
            seen.add(id(value))
            yield f"{module_name}.{name}", value
            if inspect.isclass(value):
                yield from _members(f"{module_name}.{name}", value)


def _members(path: str, owner: type[Any]) -> Iterator[tuple[str, Any]]:
    for name in dir(owner):
        if name.startswith("_"):
            continue
        member = inspect.getattr_static(owner, name)
        function = member.__func__ if isinstance(member, (classmethod, staticmethod)) else member
        if isinstance(member, property):
            function = member.fget
        home = getattr(function, "__module__", "") or ""
        if (inspect.isfunction(function) or isinstance(member, property)) and home.startswith("mme_sdk"):
            yield f"{path}.{name}", function


def _sections(documentation: str) -> dict[str, str]:
    parts = _SECTION.split(documentation)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def _named(section: str) -> set[str]:
    return {name.strip(" *") for match in _ENTRY.finditer(section) for name in match[1].split(",")}


def _is_protocol(value: Any) -> bool:
    return bool(getattr(value, "_is_protocol", False))


def _parameters(function: Any) -> list[str]:
    found = [name for name in inspect.signature(function).parameters if not name.startswith("_")]
    return found[1:] if found and found[0] in {"self", "cls"} else found


def problems(path: str, value: Any) -> list[str]:
    """What a reader misses in the documentation of a class, function, method or property."""
    documentation = inspect.getdoc(value) or ""
    first = documentation.partition("\n")[0]
    sections = _sections(documentation)
    found = []
    if not re.search(r"[.:?]$", first):
        found.append(f"the first line does not end a sentence: {first!r}")
    if inspect.isclass(value):
        fields: set[str] = set()
        if attrs.has(value):
            fields = {field.alias or field.name for field in attrs.fields(value) if not field.name.startswith("_")}
        elif dataclasses.is_dataclass(value):
            fields = {field.name for field in dataclasses.fields(value)}
        elif "__init__" in vars(value) and not issubclass(value, BaseException) and not _is_protocol(value):
            fields = set(_parameters(value.__init__))
        missing = fields - _named(sections.get("Attributes", "")) - _named(sections.get("Args", ""))
    else:
        missing = set(_parameters(value)) - _named(sections.get("Args", ""))
        returns = inspect.signature(value).return_annotation
        something = returns not in {None, "None", inspect.Signature.empty, "Self", "Never"}
        if something and _parameters(value) and not {"Returns", "Yields"} & sections.keys():
            found.append("no Returns")
    if missing:
        found.append(f"not documented: {', '.join(sorted(missing))}")
    return found


def test_every_public_name_is_documented() -> None:
    found = {path: missing for path, value in _public() if (missing := problems(path, value))}
    assert not found, "\n".join(f"{path}: {'; '.join(missing)}" for path, missing in found.items())


def test_no_public_callable_takes_unnamed_options() -> None:
    for path, value in _public():
        function = value.__init__ if inspect.isclass(value) else value
        if not inspect.isfunction(function) or function.__qualname__.startswith("Enum") or _is_protocol(value):
            continue
        for parameter in inspect.signature(function).parameters.values():
            typed = str(parameter.annotation).startswith("Unpack[")  # of a TypedDict: checked and completed
            assert parameter.kind is not inspect.Parameter.VAR_KEYWORD or typed, f"{path} takes **{parameter.name}"


def _undocumented(amount: int, *, unit: str = "s") -> int:
    """Add up.

    Args:
        amount: How much.
    """
    return amount + len(unit)


def test_what_is_not_documented_is_found() -> None:
    assert problems("mme_sdk.add", _undocumented) == ["no Returns", "not documented: unit"]


@pytest.mark.parametrize(
    ("path", "some"),
    [
        ("mme_sdk.endpoints.Endpoint.invoke", {"model", "deadline", "response_type", "sticky"}),
        ("mme_sdk.endpoints.AsyncEndpoint.invoke", {"model", "deadline", "response_type", "sticky"}),
        ("mme_sdk.endpoints.Endpoint.invoke_many", {"model_of", "deadline", "checkpoint"}),
        ("mme_sdk.endpoints.Endpoint.invoke_frame", {"rows_per_call", "deadline"}),
        ("mme_sdk.endpoints.Endpoint.warm", {"expected", "deadline"}),
        ("mme_sdk.endpoints.Endpoints.create", {"wait", "timeout", "progress"}),
        ("mme_sdk.endpoints.EndpointSpec.multi_model", {"models", "image", "role", "instance_type", "tags"}),
        ("mme_sdk.registry.ModelRegistry.register", {"version", "framework", "metadata", "check_layout"}),
        ("mme_sdk.MMEClient.with_options", {"timeouts", "retry", "hooks"}),
        ("mme_sdk.MMEClient.models", {"key", "options", "staleness"}),
    ],
)
def test_a_notebook_completes_every_option(path: str, some: set[str]) -> None:
    module, owner, method = path.rsplit(".", 2)
    signature = inspect.signature(getattr(getattr(importlib.import_module(module), owner), method))
    assert some <= signature.parameters.keys()
    kinds = {parameter.kind for parameter in signature.parameters.values()}
    assert not kinds & {inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL}
