"""Model file formats: how files are recognized and loaded."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs

__all__ = ["FORMATS", "Format", "UnsupportedModelError", "find", "gpu", "load", "named_extra", "torchscript"]


class UnsupportedModelError(Exception):
    """The container cannot serve the model directory; the message says why and what to do."""


@attrs.frozen
class Format:
    """One format of model files.

    Attributes:
        name: Name of the format in messages.
        modules: Modules that the fork server imports before it forks a model; they must not start threads.
        matches: Returns whether a file has this format.
        load: Loads a model from a file.
        defaults: Name of the image whose own functions serve the model; empty for the common ones.
    """

    name: str
    modules: tuple[str, ...]
    matches: Callable[[Path], bool]
    load: Callable[[Path], Any]
    defaults: str = ""


def _suffix(*suffixes: str) -> Callable[[Path], bool]:
    return lambda path: path.suffix.lower() in suffixes


def _starts(path: Path, *marks: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(512).lstrip().startswith(marks)


def _is_xgboost(path: Path) -> bool:
    if path.suffix.lower() in (".ubj", ".xgb", ".bst") or path.name == "xgboost-model":
        return True
    if path.suffix.lower() != ".json" or not _starts(path, b"{"):
        return False
    with path.open("rb") as file:
        return b'"learner"' in file.read(4096)


def _is_lightgbm(path: Path) -> bool:
    return path.suffix.lower() == ".lgb" or (path.suffix.lower() in (".txt", ".model") and _starts(path, b"tree\n"))


_SKOPS_LIBRARIES = frozenset({"lightgbm", "numpy", "scipy", "sklearn", "xgboost"})
_SKOPS_TYPES = frozenset({"collections.OrderedDict"})  # which estimators of LightGBM contain


def _load_skops(path: Path) -> Any:
    from skops import io

    # By default skops does not trust all types of scikit-learn, such as trees. Types of the supported libraries are
    # trusted here; other types must be listed in MME_SKOPS_TRUSTED.
    named = {one for one in os.environ.get("MME_SKOPS_TRUSTED", "").split(",") if one}
    asked = set(io.get_untrusted_types(file=path))
    unknown = sorted(one for one in asked - named - _SKOPS_TYPES if one.partition(".")[0] not in _SKOPS_LIBRARIES)
    if unknown:
        raise UnsupportedModelError(
            f"{path.name} contains types that skops does not trust: {', '.join(unknown)}; "
            f"if you trust them, set MME_SKOPS_TRUSTED={','.join(unknown)} in the environment of the container"
        )
    return io.load(path, trusted=sorted(asked))


def _load_joblib(path: Path) -> Any:
    import joblib

    return joblib.load(path)


def _load_pickle(path: Path) -> Any:
    try:
        import joblib
    except ModuleNotFoundError:
        import pickle

        with path.open("rb") as file:
            return pickle.load(file)  # noqa: S301 - the model's own isolated process
    return joblib.load(path)  # plain pickles too; files of joblib are often called .pkl


def _load_xgboost(path: Path) -> Any:
    import xgboost

    booster = xgboost.Booster()
    booster.load_model(path)
    if gpu() is not None:
        booster.set_param({"device": f"cuda:{gpu()}"})
    return booster


def _load_lightgbm(path: Path) -> Any:
    import lightgbm

    return lightgbm.Booster(model_file=path)


def _load_onnx(path: Path) -> Any:
    # onnxruntime writes an id into the cache folder when it is imported; the folder of the model is writable.
    os.environ["XDG_CACHE_HOME"] = str(path.parent / ".cache")
    import onnxruntime

    onnxruntime.disable_telemetry_events()  # telemetry would send data over the network
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = int(os.environ.get("OMP_NUM_THREADS", "1"))
    providers: list[Any] = ["CPUExecutionProvider"]
    if gpu() is not None:
        providers.insert(0, ("CUDAExecutionProvider", {"device_id": gpu()}))
    return onnxruntime.InferenceSession(path, sess_options=options, providers=providers)


def _load_catboost(path: Path) -> Any:
    import catboost  # pyright: ignore[reportMissingImports]

    model = catboost.CatBoost().load_model(str(path))
    loss = str(model.get_all_params().get("loss_function", "")).partition(":")[0]
    kind = catboost.CatBoostClassifier if loss in _CLASSIFIES else catboost.CatBoostRegressor
    return kind().load_model(str(path))


def torchscript(path: Path) -> Any:
    """Load a TorchScript model.

    Args:
        path: Path of the file.

    Returns:
        The module, ready to predict, on the device of the container.

    Raises:
        UnsupportedModelError: The file is not TorchScript.
    """
    import torch  # pyright: ignore[reportMissingImports]

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    try:
        model = torch.jit.load(path, map_location="cpu" if gpu() is None else f"cuda:{gpu()}")
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[0]
        raise UnsupportedModelError(
            f"{path.name} is not TorchScript ({reason}); save it with torch.jit.save, or add code/inference.py "
            "with a model_fn"
        ) from error
    return model.eval()


def _is_pipeline(path: Path) -> bool:
    if path.name not in ("config.json", "model_index.json"):
        return False
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and not found.keys().isdisjoint(("_class_name", "architectures", "model_type"))


def gpu() -> int | None:
    """Return the number of the CUDA device that the host assigned to this container; None without one."""
    given = os.environ.get("MME_GPU_ID", "")
    return int(given) if given else None


_ESTIMATORS = (
    "numpy",
    "sklearn.ensemble",
    "sklearn.linear_model",
    "sklearn.naive_bayes",
    "sklearn.neighbors",
    "sklearn.neural_network",
    "sklearn.pipeline",
    "sklearn.preprocessing",
    "sklearn.svm",
)  # imported once by the fork server, instead of by each model process

# loss functions of CatBoost whose models predict classes
_CLASSIFIES = frozenset({"CrossEntropy", "Logloss", "MultiClass", "MultiClassOneVsAll"})

FORMATS: tuple[Format, ...] = (
    Format("skops", (*_ESTIMATORS, "skops.io"), _suffix(".skops"), _load_skops),
    Format("joblib", (*_ESTIMATORS, "joblib"), _suffix(".joblib"), _load_joblib),
    Format("pickle", _ESTIMATORS, _suffix(".pkl", ".pickle"), _load_pickle),
    # Only model processes import libraries that start threads: onnxruntime, torch, tensorflow.
    Format("onnx", ("numpy",), _suffix(".onnx"), _load_onnx),
    Format("xgboost", ("numpy", "scipy.sparse", "xgboost"), _is_xgboost, _load_xgboost),
    Format("lightgbm", ("numpy", "lightgbm"), _is_lightgbm, _load_lightgbm),
    Format("catboost", ("numpy",), _suffix(".cbm"), _load_catboost),
    Format("torchscript", ("numpy",), _suffix(".pt", ".pth"), torchscript, "pytorch"),
)
# Models that are folders; their own functions load them.
_PIPELINE = Format("pipeline", ("numpy",), _is_pipeline, Path, "huggingface")
_SAVED_MODEL = Format("savedmodel", ("numpy",), lambda path: path.parent.name.isdigit(), Path, "tensorflow")
_EXTRAS = {
    "catboost": "catboost",
    "joblib": "sklearn",
    "lightgbm": "lightgbm",
    "onnxruntime": "onnx",
    "sklearn": "sklearn",
    "skops": "sklearn",
    "tensorflow": "tensorflow",
    "torch": "torch",
    "transformers": "huggingface",
    "xgboost": "xgboost",
}


def load(path: Path, how: Callable[[Path], Any]) -> Any:
    """Load a model.

    Args:
        path: Path of its file or folder.
        how: Loads it.

    Returns:
        The model.

    Raises:
        UnsupportedModelError: A package is not installed; the message names the extra of mme-sdk that installs it.
    """
    with named_extra(path.name):
        return how(path)


@contextmanager
def named_extra(what: str) -> Iterator[None]:
    """Replace the error of a package that is not installed by one that names the extra of mme-sdk.

    Args:
        what: What needs the package, for the message.

    Raises:
        UnsupportedModelError: A package is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        extra = _EXTRAS.get(package)
        installs = f"pip install 'mme-sdk[{extra}]'" if extra else "install it"
        raise UnsupportedModelError(
            f"{what} needs the package {package!r}: {installs} in the environment of the container"
        ) from error


def find(directory: Path) -> tuple[Format, Path] | None:
    """Find the model of an extracted archive.

    Args:
        directory: Folder of the extracted archive.

    Returns:
        Format and path of the model's file, or of `directory` for a model that is a folder; None if there is no model
        of a known format.

    Raises:
        UnsupportedModelError: There are several such files, and none is named `model.*`.
    """
    if any(_PIPELINE.matches(path) for path in directory.glob("*.json")):
        return _PIPELINE, directory
    found = [
        (form, path)
        for path in sorted(directory.iterdir())
        if path.is_file() and not path.name.startswith(".")  # such as ._model.joblib, which macOS writes
        for form in FORMATS
        if form.matches(path)
    ]
    preferred = [one for one in found if one[1].stem == "model"]
    match preferred or found:
        case []:
            saved = any(_SAVED_MODEL.matches(path) for path in directory.glob("**/saved_model.pb"))
            return (_SAVED_MODEL, directory) if saved else None
        case [one]:
            return one
        case several:
            names = ", ".join(path.name for _, path in several)
            raise UnsupportedModelError(
                f"several model files ({names}): name one of them model.*, or add code/inference.py"
            )
