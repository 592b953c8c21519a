"""Run the last release's tests of the public API on today's code: `python scripts/yesterday.py [--tag v1.2.3] [--all]`.

It takes the newest tag `vX.Y.Z` before today's commit, and checks two things:

- each name of that release's `tests/public_api.txt` exists, and its parameters are accepted as before;
- the unit tests of that release that use public names only pass; with `--all`, all tests of this kind. A test that
  fails on the code of that release too does not count: the machine is the reason.

What differs is listed, and the exit status is 1. `tests/deprecations.toml` names the differences that the policy of
docs/compatibility.md allows. Before the first release, there is nothing to compare.
"""

from __future__ import annotations

import argparse
import ast
import builtins
import importlib
import inspect
import io
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import attrs

ROOT = Path(__file__).resolve().parent.parent
ALLOWED = Path("tests", "deprecations.toml")
SNAPSHOT = Path("tests", "public_api.txt")
_TAG = re.compile(r"v(\d+)\.(\d+)\.(\d+)")


class PolicyError(Exception):
    """An entry of tests/deprecations.toml that the policy does not allow."""


@attrs.frozen
class Parameter:
    """One parameter of a signature.

    Attributes:
        name: Its name, with the stars.
        positional: Whether it can be passed by position.
        keyword: Whether it can be passed by name.
        default: Text of the default; None without one.
    """

    name: str
    positional: bool
    keyword: bool
    default: str | None


def version(text: str) -> tuple[int, int, int]:
    """Return a version as numbers.

    Args:
        text: The version, with or without `v`.

    Raises:
        PolicyError: It has another form.
    """
    found = _TAG.fullmatch(text if text.startswith("v") else f"v{text}")
    if found is None:
        raise PolicyError(f"{text!r} is not a version such as 1.2.3")
    return int(found[1]), int(found[2]), int(found[3])


def last_tag(root: Path = ROOT) -> str | None:
    """Return the tag of the newest release before the checked-out commit, or None."""
    command = ["git", "tag", "--list", "v*", "--merged", "HEAD", "--no-contains", "HEAD"]
    names = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout.split()
    return max((name for name in names if _TAG.fullmatch(name)), key=version, default=None)


def allowed(text: str) -> frozenset[str]:
    """Return what may differ.

    Args:
        text: Text of tests/deprecations.toml.

    Returns:
        Names such as `mme_sdk:Endpoint.resize`, and tests such as `tests/unit/core/test_a.py::test_b`.

    Raises:
        PolicyError: An entry is incomplete, or removes a name too early.
    """
    names = set()
    for entry in tomllib.loads(text).get("removed", ()):
        missing = {"name", "deprecated", "removed", "use"} - entry.keys()
        if missing:
            raise PolicyError(f"the entry {entry.get('name', entry)!r} has no {', '.join(sorted(missing))}")
        since, until = version(entry["deprecated"]), version(entry["removed"])
        later = until[0] > since[0] and until[1:] == (0, 0) if since[0] else until >= (0, since[1] + 2, 0)
        if not later:
            raise PolicyError(
                f"{entry['name']} was deprecated in {entry['deprecated']} and cannot be removed in {entry['removed']}: "
                "docs/compatibility.md promises two minor versions before 1.0, and a major version after it"
            )
        names.add(entry["name"])
    return frozenset(names)


def parameters(signature: str) -> list[Parameter]:
    """Return the parameters of a signature.

    Args:
        signature: Text of an `inspect.Signature`.
    """
    found: list[Parameter] = []
    keyword_only = False
    for part in _split(signature):
        if part == "/":
            found = [attrs.evolve(one, keyword=False) for one in found]
        elif part == "*":
            keyword_only = True
        else:
            named, equals, default = part.partition("=") if ":" not in part else _annotated(part)
            name = named.partition(":")[0].strip()
            starred = name.startswith("*")
            keyword_only = keyword_only or starred
            found.append(Parameter(name, not keyword_only, not starred, default.strip() if equals else None))
    return found


def _annotated(part: str) -> tuple[str, str, str]:
    # With an annotation, Python writes " = " before the default; without one, "=".
    depth, quote = 0, ""
    for at, letter in enumerate(part):
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "\"'":
            quote = letter
        else:
            depth += (letter in "([{<") - (letter in ")]}>")
            if letter == "=" and depth == 0:
                return part[:at], "=", part[at + 1 :]
    return part, "", ""


def _split(signature: str) -> list[str]:
    """Split the parameters at the commas that are in no bracket and no string."""
    parts, start, depth, quote = [], 1, 0, ""
    for at, letter in enumerate(signature):
        if quote:
            quote = "" if letter == quote and signature[at - 1] != "\\" else quote
        elif letter in "\"'":
            quote = letter
        else:
            depth += (letter in "([{") - (letter in ")]}")
            if (letter == "," and depth == 1) or depth == 0:
                parts.append(signature[start:at].strip())
                start = at + 1
            if depth == 0:
                break
    return [part for part in parts if part]


def lost(before: str, after: str) -> str | None:
    """Return which calls of a function no longer work, or None.

    Annotations are not compared: a wider one breaks no call.

    Args:
        before: Its signature in the last release.
        after: Its signature today.
    """
    old, new = parameters(before), parameters(after)
    now = {one.name: one for one in new}
    anything = any(one.name.startswith("**") for one in new)
    for place, one in enumerate(old):
        if one.name not in now:
            if one.name.startswith("*") or not anything or one.positional:
                return f"the parameter {one.name} is gone"
            continue
        today = now[one.name]
        if one.positional and (not today.positional or new.index(today) != place):
            return f"the parameter {one.name} is no longer at position {place + 1}"
        if one.keyword and not today.keyword:
            return f"the parameter {one.name} can no longer be passed by name"
        if one.default != today.default:
            return f"the default of {one.name} was {one.default or 'none'}, and is {today.default or 'none'}"
    for one in new:
        if one.name not in {older.name for older in old} and one.default is None and not one.name.startswith("*"):
            return f"the new parameter {one.name} has no default"
    return None


def names(snapshot: str) -> Iterator[tuple[str, str]]:
    """Yield the names of a snapshot of the public API, such as `mme_sdk:Endpoint.scale`, and what it says about each.

    Args:
        snapshot: Text of tests/public_api.txt.
    """
    module = kind = ""
    for line in snapshot.splitlines():
        if line.startswith("["):
            module, kind = line.strip("[]"), ""
        elif line.strip():
            found = re.match(
                r"(?:async def |def |class |classmethod |staticmethod |property |module )?(\w+)", line.strip()
            )
            assert found is not None, line
            if not line.startswith(" "):
                kind = found[1]
            yield f"{module}:{kind}" + (f".{found[1]}" if line.startswith(" ") else ""), line


def differences(snapshot: str) -> list[tuple[str, str]]:
    """Return the names that are gone or are called in another way, each with the reason.

    Args:
        snapshot: Text of the last release's tests/public_api.txt.
    """
    public = {*dir(builtins), *(name.partition(":")[2] for name, _ in names(snapshot))}
    found = []
    for name, line in names(snapshot):
        try:
            value = _resolve(name)
        except (ImportError, AttributeError):
            found.append((name, "it is gone"))
            continue
        bases = re.match(r"class \w+\((.*)\)", line)
        signature = re.match(r"\s*(?:async def|def|classmethod|staticmethod) \w+(\(.*)", line)
        if bases is not None:
            kept = {one.__name__ for one in value.__mro__}
            lacks = [base for base in bases[1].split(", ") if base in public and base not in kept]
            found.extend((name, f"{base} is no longer a base class of it") for base in lacks)
        elif signature is None:
            was = re.match(r"    \w+ = (.+)", line)
            if was and repr(getattr(value, "value", value)) != was[1]:
                found.append((name, f"its value was {was[1]}, and is {getattr(value, 'value', value)!r}"))
        elif not callable(value):
            found.append((name, "it can no longer be called"))
        elif inspect.iscoroutinefunction(value) != line.strip().startswith("async"):
            found.append((name, "it was asynchronous, or is now"))
        elif (why := lost(signature[1], _signature(value))) is not None:
            found.append((name, why))
    return found


def _signature(value: Any) -> str:
    return re.sub(r" at 0x[0-9a-f]+", "", str(inspect.signature(value)))


def _resolve(name: str) -> Any:
    module, _, rest = name.partition(":")
    value: Any = importlib.import_module(module)
    for depth, part in enumerate(rest.split(".")):
        # Members are looked up without calling properties.
        value = inspect.getattr_static(value, part) if depth else getattr(value, part)
        value = value.__func__ if isinstance(value, classmethod | staticmethod) else value
    return value


def public_tests(root: Path, folder: str) -> list[str]:
    """Return the tests that import public names of mme_sdk only, as do the helpers that they import.

    Args:
        root: The tree of the release.
        folder: The folder of the tests.
    """
    public = {name for name, _ in names((root / SNAPSHOT).read_text(encoding="utf-8"))}
    modules = {line.strip("[]") for line in (root / SNAPSHOT).read_text().splitlines() if line.startswith("[")}

    @cache
    def is_public(path: Path) -> bool:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                asked = [(one.name, "") for one in node.names]
            elif isinstance(node, ast.ImportFrom):
                asked = [(node.module or "", one.name) for one in node.names]
            else:
                continue
            for module, name in asked:
                if module.partition(".")[0] == "mme_sdk":
                    if f"{module}:{name}" not in public and (f"{module}.{name}" if name else module) not in modules:
                        return False
                elif module.partition(".")[0] in ("scripts", "benchmarks"):
                    return False
                elif module.startswith("tests."):
                    helper = root / Path(*module.split("."))
                    paths = (helper.with_suffix(".py"), helper / "__init__.py", helper / f"{name}.py")
                    if not all(is_public(one) for one in paths if one.is_file()):
                        return False
        return True

    found = []
    for path in sorted(root.glob(f"{folder}/**/test_*.py")):
        shared = [
            one / "conftest.py" for one in path.parents if one.is_relative_to(root / folder) and one != root / folder
        ]
        # Those of tests/*/package check the repository, not the package.
        if path.parent.name != "package" and all(is_public(one) for one in (path, *shared) if one.is_file()):
            found.append(str(path.relative_to(root)))
    return found


def extract(tag: str, folder: Path, root: Path = ROOT) -> None:
    """Write the files of a tag into two folders: `package` has mme_sdk, `tree` the rest.

    Args:
        tag: The tag.
        folder: An empty folder.
        root: The repository.
    """
    content = subprocess.run(["git", "archive", tag], cwd=root, capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        archive.extractall(folder / "tree", filter="data")
    (folder / "package").mkdir()
    (folder / "tree" / "mme_sdk").rename(folder / "package" / "mme_sdk")


def failures(tree: Path, package: Path, tests: list[str]) -> dict[str, str]:
    """Run tests of a tree on a package, and return those that fail, with the first line of the reason.

    Args:
        tree: The tests, with what they read.
        package: The folder that has `mme_sdk`.
        tests: Paths or ids of tests, relative to the tree.
    """
    if not tests:
        return {}
    report = tree / "report.xml"
    report.unlink(missing_ok=True)
    # What is deprecated since then still works: its warning does not fail a test.
    options = ["-q", "-p", "no:cacheprovider", "-m", "not slow", "-W", "default::DeprecationWarning"]
    command = [sys.executable, "-m", "pytest", *options, f"--junitxml={report}", "-o", "junit_family=xunit1", *tests]
    environment = {**os.environ, "PYTHONPATH": f"{tree}{os.pathsep}{package}", "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=False)
    if not report.exists():
        raise RuntimeError(f"pytest did not run:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
    found = {}
    for case in ET.parse(report).iter("testcase"):  # noqa: S314 - pytest has just written it
        bad = next((one for one in case if one.tag in ("failure", "error")), None)
        if bad is not None:
            file = case.get("file") or case.get("classname", "").replace(".", "/") + ".py"
            name = case.get("name", "")
            test = file if name == file.removesuffix(".py").replace("/", ".") else f"{file}::{name}"
            found[test] = (bad.get("message") or "it fails").partition("\n")[0][:300]
    return found


def check(tag: str, folders: list[str], root: Path = ROOT) -> list[str]:
    """Return what of a release no longer holds, besides what the policy allows.

    Args:
        tag: The tag of the release.
        folders: Folders of tests.
        root: The repository of today's code.

    Raises:
        PolicyError: tests/deprecations.toml has an entry that the policy does not allow.
    """
    excused = allowed((root / ALLOWED).read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory(prefix="mme-yesterday-") as name:
        folder = Path(name).resolve()
        extract(tag, folder, root)
        snapshot = (folder / "tree" / SNAPSHOT).read_text(encoding="utf-8")
        broken = [f"{name}: {why}" for name, why in differences(snapshot) if not _excused(name, excused)]
        tests = [test for name in folders for test in public_tests(folder / "tree", name)]
        failed = failures(folder / "tree", root, tests)
        failed = {test: why for test, why in failed.items() if not _excused(test, excused)}
        before = failures(folder / "tree", folder / "package", sorted({test.partition("[")[0] for test in failed}))
    broken.extend(f"{test}: {why}" for test, why in failed.items() if test not in before)
    print(f"{tag}: {len(list(names(snapshot)))} public names, {len(tests)} files of tests", flush=True)
    return broken


def _excused(name: str, excused: frozenset[str]) -> bool:
    return any(name == one or name.startswith((f"{one}.", f"{one}[", f"{one}::")) for one in excused)


def main() -> int:
    """Compare with the last release; return 1 if something differs that may not."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tag", help="the release (default: the newest one)")
    parser.add_argument("--all", action="store_true", help="also the tests that start processes")
    given = parser.parse_args()
    tag = given.tag or last_tag()
    if tag is None:
        print("There is no release yet (no tag such as v1.2.3): there is nothing to compare.")
        return 0
    sys.path.insert(0, str(ROOT))
    try:
        broken = check(tag, ["tests/unit", *(["tests/property", "tests/integration"] if given.all else [])])
    except PolicyError as error:
        print(f"{ALLOWED}: {error}", file=sys.stderr)
        return 1
    for line in broken:
        print(line)
    if broken:
        print(f"{len(broken)} differ. Mend them, or deprecate the names first: {ALLOWED} says how.")
    return int(bool(broken))


if __name__ == "__main__":
    sys.exit(main())
