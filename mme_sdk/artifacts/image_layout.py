"""Check before an upload whether an image of AWS loads a model directory."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Sequence

from mme_sdk.artifacts.profiles import Profile, profile_of

__all__ = ["SCRIPTS", "image_problem"]

SCRIPTS = ("code/inference.py", "inference.py")
"""Paths of the script of a model directory; the first one that exists is run."""
_NO_BOOSTER = re.compile(
    r"[^/]+\.(csv|md|py|rst|txt|ya?ml|cbm?|lgb|onnx|skops)|(license|licence|notice|readme)", re.IGNORECASE
)


def image_problem(
    files: Sequence[str], image: str, *, multi_model: bool, read: Callable[[str], bytes | None]
) -> tuple[str, Profile] | None:
    """Return why an image would not serve a model directory.

    Args:
        files: Paths of its files.
        image: Image name as in CreateModel.
        multi_model: Whether the endpoint serves many models.
        read: Returns the content of a script; None if it is not known.

    Returns:
        The reason and the profile of the image; None if the image loads the directory, or is not known.
    """
    profile = profile_of(image)
    problem = _problem(files, profile, multi_model=multi_model, read=read)
    return None if problem is None else (problem, profile)


def _problem(
    files: Sequence[str], profile: Profile, *, multi_model: bool, read: Callable[[str], bytes | None]
) -> str | None:
    script = next((path for path in SCRIPTS if path in files), None)
    endpoint = "a multi-model endpoint" if multi_model else "a single-model endpoint"
    if script and not profile.runs_script(multi_model=multi_model):
        return f"the {profile.title} image does not run {script} on {endpoint}"
    defined: set[str] | None = set()
    if script:
        try:
            defined = _defined(read(script))
        except SyntaxError as error:
            return f"{script} is not valid Python: {error.msg} in line {error.lineno}"
    elif any(re.fullmatch(r"(code/)?[^/]+\.py", path) for path in files):
        defined = None  # SAGEMAKER_PROGRAM can name any of them
    wanted = "" if defined is None else profile.lacks(defined)
    if wanted and script:
        return f"the {profile.title} image requires that {script} defines {wanted}"
    if wanted and not profile.loads:
        return f"the {profile.title} image loads no model without a script that defines {wanted}"
    if not profile.loads or (profile.loader and (defined is None or profile.loader in defined)):
        return None
    return _files_problem(files, profile, multi_model=multi_model)


def _files_problem(files: Sequence[str], profile: Profile, *, multi_model: bool) -> str | None:
    found = profile.files(files, multi_model=multi_model)
    endpoint = "a multi-model endpoint" if multi_model else "a single-model endpoint"
    if not found:
        return f"the {profile.title} image finds no model to load on {endpoint}"
    if len(found) > 1 and not profile.several:
        return f"the {profile.title} image loads one file, and there are several: {', '.join(found)}"
    others = [path for path in found if _NO_BOOSTER.fullmatch(path)]
    if profile.name == "xgboost" and others:
        return f"the XGBoost image loads every file at the top as a model of XGBoost, {', '.join(others)} too"
    return None


def _defined(source: bytes | None) -> set[str] | None:
    """Return the names that a script defines at its top; None if they are not known."""
    if source is None:
        return None
    try:
        tree = ast.parse(source)
    except ValueError as error:  # such as a NUL
        raise SyntaxError(str(error)) from error
    names: set[str] = set()
    left: list[ast.AST] = list(tree.body)
    while left:
        node = left.pop()
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                names.add(name)
                continue  # names inside it are not names of the module
            case ast.Name(id=name, ctx=ast.Store()):
                names.add(name)
            case ast.ImportFrom(names=aliases) | ast.Import(names=aliases):
                if any(one.name == "*" for one in aliases):
                    return None
                names.update(one.asname or one.name.partition(".")[0] for one in aliases)
            case ast.Call(func=ast.Name(id="globals" | "setattr" | "exec" | "vars")):
                return None
        left.extend(ast.iter_child_nodes(node))
    return names
