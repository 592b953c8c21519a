"""Detect the framework of a model directory, and check whether a container would find the model in it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

import attrs

from mme_sdk.artifacts.image_layout import image_problem
from mme_sdk.errors import InvalidInputError, LayoutError

__all__ = ["FRAMEWORKS", "check", "detect"]

_SHOWN = 20  # lines of a directory tree in an error message
_NOT_A_MODEL = re.compile(r"(readme|license|licence|notice|changelog)(\.\w+)?|.*\.(md|rst)|\..*", re.IGNORECASE)


@attrs.frozen
class _Framework:
    """The archive layout of a framework.

    Attributes:
        name: Name of the framework.
        mark: Pattern of the file names that indicate the framework.
        wanted: The directory tree that its container loads.
        problem: Returns what is wrong with a list of files, or None.
    """

    name: str
    mark: re.Pattern[str]
    wanted: str
    problem: Callable[[Sequence[str]], str | None]


def detect(paths: Iterable[str]) -> str | None:
    """Detect the framework of a model directory by the names of its files.

    Args:
        paths: Paths relative to the root.

    Returns:
        One of `FRAMEWORKS`. None if the names indicate no framework.

    Example:
        >>> detect(["resnet/config.pbtxt", "resnet/1/model.onnx"])
        'triton'
    """
    files = [path for path in paths if not path.endswith("/")]
    return next((one.name for one in _KNOWN if any(one.mark.fullmatch(path) for path in files)), None)


def check(
    paths: Iterable[str],
    framework: str | None = None,
    *,
    image: str | None = None,
    multi_model: bool = True,
    read: Callable[[str], bytes | None] | None = None,
) -> str | None:
    """Raise LayoutError if no container would load a model directory.

    Without an image, a directory passes if any container of AWS or the Python container of the embedded SageMaker loads
    it. With an image, that image must load it.

    Args:
        paths: Paths relative to the root. Empty directories end in `/`.
        framework: One of `FRAMEWORKS`. If None, it is detected from the names.
        image: Name of the image that will load it, as in CreateModel. All directories pass for an image that is not
            one of AWS. If None, the image is not known.
        multi_model: Whether the endpoint serves many models. True by default. It counts with an image only.
        read: Returns the content of a file, or None. If None, the functions of a script are not checked.

    Returns:
        The framework. None if it is not given and the names indicate none.

    Raises:
        InvalidInputError: `framework` is not one of `FRAMEWORKS`.
        LayoutError: There is no model, or the container looks for it in another place. The text shows both trees.

    Example:
        >>> check(["model.joblib", "code/inference.py"])
        'sklearn'
    """
    tree = sorted(paths)
    files = [path for path in tree if not path.endswith("/")]
    if not any(not _NOT_A_MODEL.fullmatch(path.rpartition("/")[2]) for path in files):
        raise LayoutError(
            f"the directory contains no model; found\n{_drawn(tree)}",
            hint="save the model's files into the directory first",
        )
    name = framework or detect(tree)
    if framework is not None:
        _check_framework(tree, files, framework)
    if image is not None:
        _check_image(tree, files, image, multi_model, read or (lambda _: None))
    elif framework is None:
        if name is not None:
            _check_framework(tree, files, name)
        elif not _may_load(files):
            raise LayoutError(
                f"no container of AWS loads these files without a script; found\n{_drawn(tree)}",
                hint="add code/inference.py with a model_fn; or give the image that loads them, with image=",
            )
    return name


def _check_framework(tree: Sequence[str], files: Sequence[str], name: str) -> None:
    if name not in FRAMEWORKS:
        raise InvalidInputError(f"{name!r} is not a known framework", hint=f"use one of {', '.join(FRAMEWORKS)}")
    known = _BY_NAME[name]
    problem = known.problem(files)
    if problem:
        raise LayoutError(
            f"{name}: {problem}; found\n{_drawn(tree)}\n  expected\n{known.wanted}",
            hint="move the files so that the root of the archive has the expected layout",
        )


def _check_image(
    tree: Sequence[str], files: Sequence[str], image: str, multi_model: bool, read: Callable[[str], bytes | None]
) -> None:
    found = image_problem(files, image, multi_model=multi_model, read=read)
    if found:
        problem, profile = found
        expected = "\n".join(f"    {line}" for line in profile.expected)
        raise LayoutError(
            f"{problem}; found\n{_drawn(tree)}\n  expected\n{expected}",
            hint="change the files, or give the image and the mode of the endpoint that will serve them "
            "(image=, multi_model=)",
        )


def _may_load(files: Sequence[str]) -> bool:
    """Return whether a container may load files whose names indicate no framework."""
    others = (path for path in files if not _SETTINGS.fullmatch(path) and not _NOT_A_MODEL.fullmatch(path))
    return any(_UNNAMED.fullmatch(path) for path in others)


def _drawn(tree: Sequence[str]) -> str:
    lines = [f"    {path if path.isprintable() else repr(path)}" for path in tree[:_SHOWN]]
    if len(tree) > _SHOWN:
        lines.append(f"    … and {len(tree) - _SHOWN} more")
    return "\n".join(lines) or "    nothing"


def _wrapped(files: Sequence[str]) -> str | None:
    tops = {path.partition("/")[0] for path in files}
    return next(iter(tops)) if len(tops) == 1 and all("/" in path for path in files) else None


def _script(files: Sequence[str]) -> str | None:
    # SageMaker's toolkits import only code/inference.py at the root of the archive.
    top = _wrapped(files)
    if top and f"{top}/code/inference.py" in files:
        return f"all files are inside {top}/, so the container does not find code/inference.py"
    return None


def _several(files: Sequence[str]) -> str | None:
    """Return what is wrong if the container finds several model files and no script selects one."""
    if any(path.endswith(".py") for path in files):
        return None
    found = [path for path in files if not path.startswith(".") and _LOADED.fullmatch(path)]
    if len(found) < 2 or [path.rpartition(".")[0] for path in found].count("model") == 1:
        return None
    return (
        f"there are several model files ({', '.join(found)}) and no script: "
        "name one of them model.*, or add code/inference.py"
    )


def _one_file(pattern: str, what: str) -> Callable[[Sequence[str]], str | None]:
    wanted = re.compile(pattern)

    def problem(files: Sequence[str]) -> str | None:
        if "code/inference.py" in files or "inference.py" in files:
            return None  # a script may load the model from another place
        if any(wanted.fullmatch(path.rpartition("/")[2]) for path in files):
            top = _wrapped(files)
            return f"all files are inside {top}/, so the container finds none at the root" if top else None
        return f"{what} is missing"

    return lambda files: _script(files) or problem(files) or _several(files)


def _triton(files: Sequence[str]) -> str | None:
    configs = [path for path in files if re.fullmatch(r"([^/]+/)?config\.pbtxt", path)]
    if not configs:
        deep = next((path for path in files if path.endswith("/config.pbtxt")), None)
        return f"{deep} is in too deep a directory" if deep else "config.pbtxt is missing"
    version = re.compile(r"((?:[^/]+/)?)[1-9]\d*/")
    versioned = {match[1] for path in files if (match := version.match(path))}
    versioned |= {"" for path in files if re.match(r"[1-9]\d*/", path)}
    if any(config.removesuffix("config.pbtxt") in versioned for config in configs):
        return None
    folder = configs[0].removesuffix("config.pbtxt")
    return f"{folder or 'the root'} has no version directory such as {folder}1/"


def _pytorch(files: Sequence[str]) -> str | None:
    problem = _one_file(r"[^/]+\.(pth?|safetensors)", "a PyTorch model")(files)
    if problem or any(path in ("config.json", "model_index.json") or path.endswith(".py") for path in files):
        return problem  # without a script, the Hugging Face image loads a folder with one of these files
    models = [path for path in files if re.fullmatch(r"[^/.][^/]*\.pth?", path)]
    if not models:
        return "a .safetensors file needs config.json at the root, or a script"
    if len(models) > 1 and "model.pt" not in models:
        return f"there are several model files ({', '.join(models)}) and no script: name one of them model.pt"
    return None


def _tensorflow(files: Sequence[str]) -> str | None:
    if "code/inference.py" in files or any(re.fullmatch(r"(.*/)?\d+/saved_model\.pb(txt)?", path) for path in files):
        return None  # a single-model container looks at any depth
    return "saved_model.pb is not inside a directory named by a version number"


_MODEL = "    {model}\n    code/inference.py     (optional)\n    code/requirements.txt (optional)"
_ONE_FILE = {
    "xgboost": (r"xgboost-model|[^/]+\.(ubj|xgb|bst)", "xgboost-model", "an XGBoost model"),
    "sklearn": (r"[^/]+\.(joblib|skops)", "model.skops", "a saved estimator"),
    "lightgbm": (r"[^/]+\.lgbm?|lightgbm[^/]*\.txt", "model.lgb", "a LightGBM model"),
    "catboost": (r"[^/]+\.cbm", "model.cbm", "a CatBoost model"),
    "onnx": (r"[^/]+\.onnx", "model.onnx", "an ONNX model"),
}
# Files at the top that a container loads though their names indicate no framework. A script may have any name.
_UNNAMED = re.compile(r"[^/.]+|[^/.][^/]*\.(pkl|pickle|json|txt|model)|(code/)?[^/]+\.py")
_SETTINGS = re.compile(
    r"dockerfile|makefile|(added_tokens|config|generation_config|labels|metadata|package|params|preprocessor_config|requirements|schema|"
    r"special_tokens_map|tokenizer|tokenizer_config|vocab)\.(json|txt)",
    re.IGNORECASE,
)
# Files at the top that a container loads without a script; it can load only one.
_LOADED = re.compile("|".join([*(pattern for pattern, _, _ in _ONE_FILE.values()), r"[^/]+\.(pkl|pickle)"]))
_KNOWN = (
    _Framework(
        "triton",
        re.compile(r"(.*/)?config\.pbtxt"),
        "    <model>/config.pbtxt\n    <model>/1/model.<ext>",
        _triton,
    ),
    _Framework(
        "tensorflow",
        re.compile(r"(.*/)?saved_model\.pb(txt)?"),
        "    1/saved_model.pb\n    1/variables/…",
        _tensorflow,
    ),
    *(
        _Framework(
            name,
            re.compile(f"(.*/)?({pattern})"),
            _MODEL.format(model=model),
            _one_file(pattern, what),
        )
        for name, (pattern, model, what) in _ONE_FILE.items()
    ),
    _Framework(
        "huggingface",
        re.compile(r"(pytorch_model|tf_model|flax_model)[^/]*\.(bin|h5|msgpack)"),
        "    config.json\n    pytorch_model.bin\n    tokenizer.json",
        _one_file(r"config\.json", "config.json"),
    ),
    _Framework(
        "pytorch",
        re.compile(r"(.*/)?[^/]+\.(pth?|safetensors)"),
        _MODEL.format(model="model.pth"),
        _pytorch,
    ),
    _Framework("python", re.compile(r"([^/]+/)?(code/)?inference\.py"), _MODEL.format(model="<model>"), _script),
)
_BY_NAME = {one.name: one for one in _KNOWN}
FRAMEWORKS: tuple[str, ...] = tuple(_BY_NAME)
"""Names of the frameworks whose layout `check` knows."""
