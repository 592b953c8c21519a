"""Model file formats: how files are recognized and loaded, and how the models predict."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs

from mme_sdk.local.containers.python.payloads import PayloadError

__all__ = ["FORMATS", "Format", "UnsupportedModelError", "find", "gpu", "predict"]


class UnsupportedModelError(Exception):
    """The container cannot serve the model directory; the message says why and what to do."""


@attrs.frozen
class Format:
    """One format of model files.

    Attributes:
        name: Name of the format in messages.
        modules: Modules that the fork server imports before it forks a model; they must not start threads.
        extra: The extra of mme-sdk that installs the modules.
        matches: Returns whether a file has this format.
        load: Loads a model from a file.
    """

    name: str
    modules: tuple[str, ...]
    extra: str
    matches: Callable[[Path], bool]
    load: Callable[[Path], Any]


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


def _load_skops(path: Path) -> Any:
    from skops import io

    # By default skops does not trust all types of scikit-learn, such as trees. Types of the supported libraries are
    # trusted here; other types must be listed in MME_SKOPS_TRUSTED.
    named = {one for one in os.environ.get("MME_SKOPS_TRUSTED", "").split(",") if one}
    asked = set(io.get_untrusted_types(file=path))
    unknown = sorted(one for one in asked - named if one.partition(".")[0] not in _SKOPS_LIBRARIES)
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
    import pickle

    with path.open("rb") as file:
        return pickle.load(file)  # noqa: S301 - the model's own isolated process


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

FORMATS: tuple[Format, ...] = (
    Format("skops", (*_ESTIMATORS, "skops.io"), "sklearn", _suffix(".skops"), _load_skops),
    Format("joblib", (*_ESTIMATORS, "joblib"), "sklearn", _suffix(".joblib"), _load_joblib),
    Format("pickle", _ESTIMATORS, "sklearn", _suffix(".pkl", ".pickle"), _load_pickle),
    # onnxruntime starts a thread when it is imported, so only model processes import it.
    Format("onnx", ("numpy",), "onnx", _suffix(".onnx"), _load_onnx),
    Format("xgboost", ("numpy", "scipy.sparse", "xgboost"), "xgboost", _is_xgboost, _load_xgboost),
    Format("lightgbm", ("numpy", "lightgbm"), "lightgbm", _is_lightgbm, _load_lightgbm),
)


def find(directory: Path) -> tuple[Format, Path] | None:
    """Find the model file of an extracted archive.

    Args:
        directory: Folder of the extracted archive.

    Returns:
        Format and path of the file; None if there is no file of a known format.

    Raises:
        UnsupportedModelError: There are several such files, and none is named `model.*`.
    """
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
            return None
        case [one]:
            return one
        case several:
            names = ", ".join(path.name for _, path in several)
            raise UnsupportedModelError(
                f"several model files ({names}): name one of them model.*, or add code/inference.py"
            )


def predict(data: Any, model: Any) -> Any:
    """Predict with a model of any library of `FORMATS`: the default `predict_fn`.

    Args:
        data: The decoded input.
        model: The return value of `Format.load`.

    Returns:
        The prediction.
    """
    kind = f"{type(model).__module__.partition('.')[0]}.{type(model).__name__}"
    data = _frame(data)
    if kind == "xgboost.Booster":
        return _run_xgboost(data, model)
    if kind == "onnxruntime.InferenceSession":
        return _run_onnx(data, model)
    if kind == "lightgbm.Booster":
        return model.predict(_by_name(data, model.feature_name()))
    if hasattr(model, "predict"):
        return model.predict(data)
    if callable(model):
        return model(data)
    raise UnsupportedModelError(
        f"a {type(model).__name__} has no predict method and is not callable: add predict_fn to code/inference.py"
    )


def _table(data: Any) -> Any:
    import numpy as np

    return np.atleast_2d(np.asarray(data, dtype=float))


def _run_xgboost(data: Any, booster: Any) -> Any:
    import xgboost

    # Like AWS's container, accept rows without column names even if the model was trained on a data frame.
    if isinstance(data, xgboost.DMatrix):
        return booster.predict(data, validate_features=False)
    table = _table(_by_name(data, booster.feature_names))
    if table.shape[1] != booster.num_features():  # XGBoost would fill missing columns with NaN
        raise PayloadError(
            400, f"the rows have {table.shape[1]} columns; the model has {booster.num_features()} features"
        )
    return booster.predict(xgboost.DMatrix(table), validate_features=False)


def _frame(data: Any) -> Any:
    """Convert a list of records to a data frame, which estimators with named columns require."""
    if isinstance(data, list) and data and isinstance(data[0], dict):
        import pandas as pd

        return pd.DataFrame(data)
    return data


def _by_name(data: Any, names: list[str] | None) -> Any:
    """Order the columns of a data frame as in training. Return data unchanged if it or the model has no names."""
    given = [str(name) for name in getattr(data, "columns", ())]
    if not given or not names or given == names or all(re.fullmatch(r"Column_\d+", name) for name in names):
        return data
    if sorted(given) != sorted(names):
        raise PayloadError(
            400, f"the columns are {', '.join(given[:20])}; the model was trained with {', '.join(names[:20])}"
        )
    return data.iloc[:, [given.index(name) for name in names]]


_ONNX_TYPES = {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(float16)": "float16",
    "tensor(int64)": "int64",
    "tensor(int32)": "int32",
    "tensor(int8)": "int8",
    "tensor(uint8)": "uint8",
    "tensor(bool)": "bool",
    "tensor(string)": "str",
}


def _run_onnx(data: Any, session: Any) -> Any:
    wanted = session.get_inputs()
    names = [one.name for one in wanted]
    if hasattr(data, "columns") and len(wanted) > 1:
        data = {str(name): data[[name]].to_numpy() for name in data.columns}
    named = data if isinstance(data, dict) else {names[0]: data}
    if set(named) != set(names):
        raise PayloadError(400, f"the inputs are {', '.join(sorted(named))}; the model has {', '.join(names)}")
    outputs = session.run(None, {one.name: _tensor(named[one.name], one) for one in wanted})
    return (
        outputs[0]
        if len(outputs) == 1
        else dict(zip((one.name for one in session.get_outputs()), outputs, strict=True))
    )


def _tensor(value: Any, wanted: Any) -> Any:
    """Convert an input to the type of the model.

    Raises:
        PayloadError: The conversion would change an integer, a boolean or a string.
    """
    import numpy as np

    given, kind = np.asarray(value), _ONNX_TYPES.get(wanted.type)
    tensor: Any = None
    try:
        tensor = np.asarray(given, dtype=kind)
        texts = {isinstance(one, str) for one in given.ravel()} if given.dtype.kind in "OU" else set()
        changed = (tensor.dtype.kind != "U") in texts or (
            tensor.dtype.kind != "f" and not np.array_equal(tensor.astype(object), given.astype(object))
        )
    except (ValueError, TypeError, OverflowError):
        changed = True
    if changed:
        raise PayloadError(
            400, f"input {wanted.name!r} has type {wanted.type}, which cannot represent values of the request"
        )
    return tensor
