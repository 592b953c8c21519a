"""Which files of an MLflow model the Python container loads. No model is loaded here."""

from __future__ import annotations

import mmap
import os
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import attrs

from mme_sdk.errors import InvalidInputError, LayoutError, MissingExtraError, StorageError
from mme_sdk.integrations.mlflow.folders import ModelFolder, checked_path

__all__ = ["FLAVORS", "NativeModel", "native_model"]

_LIMIT = 1 << 24  # bytes of an MLmodel file, whose signature may name thousands of columns
_MARKED = 4096  # bytes at the beginning of an XGBoost file in JSON that the container reads to recognize it
# An entry of `external_data` in an ONNX file: the field `key` with the text "location", then the field `value`.
_LOCATION = re.compile(rb"\x0a\x08location\x12(?:[\x01-\x7f]|([\x80-\xff])(?=.))", re.DOTALL)
_NOT_TENSORS = frozenset({".json", ".pb", ".pbtxt", ".py"})  # scripts, and files that mark a model of another kind


@attrs.frozen
class NativeModel:
    """What of an MLflow model is packed.

    Attributes:
        flavor: Name of the flavor.
        files: The files on this machine, by their path in the archive.
    """

    flavor: str
    files: Mapping[str, Path]

    def place(self, folder: Path) -> None:
        """Put the files into a folder, as hard links where that is possible.

        Raises:
            InvalidInputError: A file was replaced by a link since it was checked.
            StorageError: A file cannot be written.
        """
        for name, source in self.files.items():
            target = folder / name
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                try:
                    os.link(source, target, follow_symlinks=False)
                except (OSError, NotImplementedError):  # another file system
                    shutil.copyfile(source, target, follow_symlinks=False)
                if target.is_symlink():
                    raise InvalidInputError(
                        f"{source} was replaced by a link while it was read", hint="replace the link by the file"
                    )
            except OSError as error:
                raise StorageError(f"cannot copy {source} to {target}: {error.strerror or error}") from error


def native_model(folder: ModelFolder, flavor: str | None = None) -> NativeModel:
    """Return the files of an MLflow model that the Python container loads.

    Args:
        folder: The folder of the model.
        flavor: Name of the flavor. None takes the first one of `FLAVORS` that the model has.

    Returns:
        The files.

    Raises:
        LayoutError: The model has no flavor that the container serves, or needs more than its file.
        InvalidInputError: The folder is not that of an MLflow model, a file is missing, or the model does not have the
            flavor.
        MMEError: A file cannot be read.
    """
    flavors = _flavors(folder)
    if flavor is not None and flavor not in flavors:
        raise InvalidInputError(
            f"{folder.uri} does not have the flavor {flavor!r}", hint=f"it has {', '.join(sorted(flavors))}"
        )
    name = flavor or next((one for one in FLAVORS if one in flavors), None)
    if name is None or name not in FLAVORS:
        raise LayoutError(
            f"{folder.uri} has the flavor {name or ', '.join(sorted(flavors))}, which the Python container does not "
            "serve",
            hint=f"it serves {', '.join(FLAVORS)}; log the model with one of them, or register a folder that has "
            "code/inference.py with a model_fn",
        )
    return NativeModel(name, FLAVORS[name](_Flavor(folder, name, flavors[name], flavors.get("python_function", {}))))


def _flavors(folder: ModelFolder) -> dict[str, Mapping[str, Any]]:
    try:
        import yaml
    except ImportError as error:
        raise MissingExtraError("the MLmodel file needs PyYAML", hint="pip install 'mme-sdk[mlflow]'") from error
    path = folder.file("MLmodel")
    try:
        with path.open("rb") as file:
            text = file.read(_LIMIT + 1)
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror or error}") from error
    if len(text) > _LIMIT:
        raise InvalidInputError(f"{folder.uri}: the MLmodel file has more than {_LIMIT:,} bytes")
    try:
        found = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        found = None
    flavors = found.get("flavors") if isinstance(found, dict) else None
    if not isinstance(flavors, dict) or not flavors:
        raise InvalidInputError(
            f"{folder.uri}: the MLmodel file is not valid: it names no flavors", hint="log the model again with MLflow"
        )
    return {str(name): config if isinstance(config, dict) else {} for name, config in flavors.items()}


@attrs.frozen
class _Flavor:
    """One flavor of a model.

    Attributes:
        folder: The folder of the model.
        name: Name of the flavor.
        config: Its entries in the MLmodel file.
        pyfunc: The entries of the flavor `python_function`.
    """

    folder: ModelFolder
    name: str
    config: Mapping[str, Any]
    pyfunc: Mapping[str, Any]

    def path(self, key: str, *suffixes: str) -> str:
        """Return the path of the native file, which must have one of the suffixes."""
        path = checked_path(self.folder.uri, self.config.get(key))
        if Path(path).suffix not in suffixes:
            raise self.refuse(f"the container does not recognize {path}", f"save it as {' or '.join(suffixes)}")
        return path

    def refuse(self, reason: str, advice: str) -> LayoutError:
        """Return the error for a model that the container would not serve as MLflow does."""
        return LayoutError(f"{self.folder.uri}, flavor {self.name}: {reason}", hint=advice)

    def estimator(self, path: str) -> dict[str, Path]:
        """Return the file of an estimator. Modules of its own are not packed, so it must not need any."""
        if self.config.get("code") or self.pyfunc.get("code"):
            raise self.refuse(
                "it needs modules of its own (code_paths), which the container does not import",
                "register a folder that has code/inference.py and these modules",
            )
        method = self.pyfunc.get("predict_fn") or "predict"
        if method != "predict":
            raise self.refuse(
                f"MLflow calls its method {method}, but the container calls predict",
                f"register a folder that has code/inference.py with a predict_fn that calls {method}",
            )
        return {f"model{Path(path).suffix}": self.folder.file(path)}


def _sklearn(flavor: _Flavor) -> dict[str, Path]:
    return flavor.estimator(flavor.path("pickled_model", ".skops", ".pkl", ".joblib"))


def _lightgbm(flavor: _Flavor) -> dict[str, Path]:
    path = flavor.path("data", ".lgb", ".skops", ".pkl")
    return {"model.lgb": flavor.folder.file(path)} if path.endswith(".lgb") else flavor.estimator(path)


def _xgboost(flavor: _Flavor) -> dict[str, Path]:
    path = flavor.path("data", ".ubj", ".json", ".xgb")
    file = flavor.folder.file(path)
    if path.endswith(".json"):
        try:
            with file.open("rb") as opened:
                beginning = opened.read(_MARKED)
        except OSError as error:
            raise StorageError(f"cannot read {file}: {error.strerror or error}") from error
        if not beginning.lstrip().startswith(b"{") or b'"learner"' not in beginning:
            raise flavor.refuse(f"{path} is not a model of XGBoost", "save it with model_format='ubj'")
    return {f"model{Path(path).suffix}": file}


def _catboost(flavor: _Flavor) -> dict[str, Path]:
    form = flavor.config.get("save_format", "cbm")
    if form != "cbm":
        raise flavor.refuse(f"it is saved in the format {form}", "log it with format='cbm'")
    return {"model.cbm": flavor.folder.file(checked_path(flavor.folder.uri, flavor.config.get("data")))}


def _onnx(flavor: _Flavor) -> dict[str, Path]:
    path = flavor.path("data", ".onnx")
    file = flavor.folder.file(path)
    files = {"model.onnx": file}
    for location in sorted(_external(flavor.folder.uri, file)):
        # The model finds it relative to its own folder, which is the root of the archive.
        if "/" in location or location in files or Path(location).suffix in _NOT_TENSORS:
            raise InvalidInputError(
                f"{flavor.folder.uri}: {path} names {location} as a file of tensors, which the container would read as "
                "something else",
                hint="log the model again with MLflow",
            )
        files[location] = flavor.folder.file((Path(path).parent / location).as_posix())
    return files


def _external(uri: str, file: Path) -> set[str]:
    """Return the files with tensors that an ONNX file names, relative to its folder."""
    found: set[str] = set()
    try:
        with file.open("rb") as opened:
            if not os.fstat(opened.fileno()).st_size:
                return found
            with mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as data:
                for match in _LOCATION.finditer(data):
                    size, at = match[0][-1], match.end()
                    if match[1]:  # a length over 127 has a second byte
                        size, at = (size & 127) | data[at] << 7, at + 1
                    found.add(checked_path(uri, data[at : at + size].decode("utf-8", "backslashreplace")))
    except OSError as error:
        raise StorageError(f"cannot read {file}: {error.strerror or error}") from error
    return found


FLAVORS: Mapping[str, Callable[[_Flavor], dict[str, Path]]] = {
    "sklearn": _sklearn,
    "xgboost": _xgboost,
    "lightgbm": _lightgbm,
    "catboost": _catboost,
    "onnx": _onnx,
}
"""What is packed of each flavor that the Python container serves; of several, the first one counts."""
