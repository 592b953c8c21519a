"""Print the public API: names, signatures and base classes; `--write` updates the snapshot that the tests compare."""

from __future__ import annotations

import argparse
import enum
import importlib
import inspect
import re
from pathlib import Path

SNAPSHOT = Path(__file__).parent.parent / "tests" / "public_api.txt"
MODULES = (
    "mme_sdk",
    "mme_sdk.errors",
    "mme_sdk.config",
    "mme_sdk.protocols",
    "mme_sdk.types",
    "mme_sdk.artifacts",
    "mme_sdk.registry",
    "mme_sdk.endpoints",
    "mme_sdk.runtime",
    "mme_sdk.metrics",
    "mme_sdk.recording",
    "mme_sdk.costs",
    "mme_sdk.diagnosis",
    "mme_sdk.fleet",
    "mme_sdk.planning",
    "mme_sdk.exports",
    "mme_sdk.router",
    "mme_sdk.autopilot",
    "mme_sdk.scale",
    "mme_sdk.integrations.mlflow",
    "mme_sdk.local",
    "mme_sdk.testing",
)


def describe() -> str:
    """Return the public API, one line for each name."""
    seen: dict[int, str] = {}
    lines: list[str] = []
    for module_name in MODULES:
        module = importlib.import_module(module_name)
        lines.append(f"[{module_name}]")
        for name in sorted(getattr(module, "__all__", ())):
            value = getattr(module, name)
            first = seen.setdefault(id(value), f"{module_name}.{name}") if inspect.isclass(value) else ""
            if first and first != f"{module_name}.{name}":
                lines.append(f"{name} = {first}")
            elif inspect.isclass(value):
                lines.extend(_class(name, value))
            elif inspect.isfunction(value):
                lines.append(f"def {name}{inspect.signature(value)}")
            elif inspect.ismodule(value):
                lines.append(f"module {name}")
            elif name != "__version__":
                lines.append(f"{name}: {type(value).__name__}")
        lines.append("")
    return re.sub(r" at 0x[0-9a-f]+", "", "\n".join(lines))


def _class(name: str, kind: type) -> list[str]:
    bases = ", ".join(base.__name__ for base in kind.__bases__ if base is not object)
    lines = [f"class {name}({bases})"]
    if issubclass(kind, enum.Enum):
        return [*lines, *(f"    {member.name} = {member.value!r}" for member in kind)]
    for member, value in sorted(vars(kind).items()):
        if member.startswith("_") and member != "__init__":
            continue
        if isinstance(value, (classmethod, staticmethod)):
            lines.append(f"    {type(value).__name__} {member}{inspect.signature(value.__func__)}")
        elif inspect.isfunction(value):
            marker = "async def" if inspect.iscoroutinefunction(value) else "def"
            lines.append(f"    {marker} {member}{inspect.signature(value)}")
        elif isinstance(value, property) or type(value).__name__ == "cached_property":
            lines.append(f"    property {member}")
    return lines


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true")
    if parser.parse_args().write:
        SNAPSHOT.write_text(describe())
    else:
        print(describe())
