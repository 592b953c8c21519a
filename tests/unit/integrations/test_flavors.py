"""Which files of an MLflow model are packed, and which models and folders are refused."""

from __future__ import annotations

import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy
import onnx
import pytest

from mme_sdk.errors import InvalidInputError, LayoutError
from mme_sdk.integrations.mlflow.flavors import NativeModel, native_model
from mme_sdk.integrations.mlflow.folders import LocalFolder, RemoteFolder
from mme_sdk.integrations.mlflow.tracking import Tracking
from tests.support.integrations.mlflow import FakeMlflow


@pytest.fixture
def mlflow(tmp_path: Path) -> FakeMlflow:
    return FakeMlflow(tmp_path / "store")


def native(mlflow: FakeMlflow, flavors: dict[str, Any], *names: str, flavor: str | None = None, **files: Any) -> Any:
    content = {name: name.encode() for name in names} | files.pop("files", {})
    return native_model(LocalFolder("models:/fraud/1", mlflow.add("fraud", 1, flavors, files=content)), flavor)


@pytest.mark.parametrize(
    ("flavors", "files", "packed"),
    [
        ({"sklearn": {"pickled_model": "model.skops"}}, ["model.skops"], ["model.skops"]),
        (
            {"python_function": {"predict_fn": "predict"}, "sklearn": {"pickled_model": "model.pkl", "code": None}},
            ["model.pkl", "conda.yaml"],
            ["model.pkl"],
        ),
        ({"sklearn": {"pickled_model": "sub/est.pkl"}}, ["sub/est.pkl"], ["model.pkl"]),
        ({"xgboost": {"data": "model.ubj", "code": "code"}}, ["model.ubj"], ["model.ubj"]),
        ({"xgboost": {"data": "model.xgb"}}, ["model.xgb"], ["model.xgb"]),
        ({"lightgbm": {"data": "model.lgb"}}, ["model.lgb"], ["model.lgb"]),
        ({"lightgbm": {"data": "model.pkl"}}, ["model.pkl"], ["model.pkl"]),
        ({"catboost": {"data": "model.cb", "save_format": "cbm"}}, ["model.cb"], ["model.cbm"]),
        ({"onnx": {"data": "model.onnx"}}, ["model.onnx"], ["model.onnx"]),
    ],
)
def test_the_native_file_is_packed_under_the_name_that_the_container_finds(
    mlflow: FakeMlflow, tmp_path: Path, flavors: Any, files: list[str], packed: list[str]
) -> None:
    found = native(mlflow, flavors, *files)
    assert found.flavor in flavors
    assert sorted(found.files) == packed
    (tmp_path / "placed").mkdir()
    found.place(tmp_path / "placed")
    (name,) = packed
    assert (tmp_path / "placed" / name).read_bytes() == files[0].encode()


def test_xgboost_in_json_is_packed_only_if_the_container_recognizes_it(mlflow: FakeMlflow) -> None:
    flavors = {"xgboost": {"data": "model.json"}}
    assert list(native(mlflow, flavors, files={"model.json": b'{"learner": {}}'}).files) == ["model.json"]
    shutil.rmtree(mlflow.root)
    with pytest.raises(LayoutError, match="not a model of XGBoost"):
        native(mlflow, flavors, files={"model.json": b'{"weights": []}'})


@pytest.mark.parametrize(
    ("flavors", "said"),
    [
        (
            {"pytorch": {"model_data": "data"}, "python_function": {}},
            "the flavor python_function, pytorch, which",
        ),
        ({"python_function": {"loader_module": "mlflow.pyfunc.model"}}, "the flavor python_function, which"),
        ({"xgboost": {"data": "model.deprecated"}}, "does not recognize model.deprecated"),
        ({"catboost": {"data": "model.cb", "save_format": "json"}}, "format json"),
        ({"sklearn": {"pickled_model": "model.pkl", "code": "code"}}, "code_paths"),
        ({"sklearn": {"pickled_model": "model.pkl"}, "python_function": {"code": "code"}}, "code_paths"),
        (
            {"sklearn": {"pickled_model": "model.pkl"}, "python_function": {"predict_fn": "predict_proba"}},
            "MLflow calls its method predict_proba, but the container calls predict",
        ),
    ],
)
def test_what_the_container_would_not_serve_as_mlflow_does_is_refused(
    mlflow: FakeMlflow, flavors: Any, said: str
) -> None:
    with pytest.raises(LayoutError, match=said) as caught:
        native(mlflow, flavors, "model.pkl", "model.cb", "model.deprecated")
    assert "models:/fraud/1" in str(caught.value)


def test_the_flavor_can_be_chosen(mlflow: FakeMlflow) -> None:
    flavors = {"sklearn": {"pickled_model": "model.pkl"}, "onnx": {"data": "model.onnx"}, "spark": {}}
    folder = LocalFolder("m", mlflow.add("fraud", 1, flavors, files={"model.pkl": b"1", "model.onnx": b"2"}))
    assert native_model(folder).flavor == "sklearn"
    assert native_model(folder, "onnx") == NativeModel("onnx", {"model.onnx": folder.root / "model.onnx"})
    with pytest.raises(LayoutError, match="the flavor spark, which"):
        native_model(folder, "spark")
    with pytest.raises(InvalidInputError, match="does not have the flavor 'xgboost'"):
        native_model(folder, "xgboost")


def test_files_of_tensors_beside_an_onnx_file_are_packed_with_it(mlflow: FakeMlflow) -> None:
    long = "w" * 200
    tensors = [onnx.numpy_helper.from_array(numpy.zeros(2000, "f4"), name) for name in ("a", "b")]
    node = onnx.helper.make_node("Add", ["a", "b"], ["y"])
    graph = onnx.helper.make_graph(
        [node], "g", [], [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [2000])], tensors
    )
    for location in ("tensors", long):
        folder = mlflow.root / "made" / location
        folder.mkdir(parents=True)
        onnx.save_model(
            onnx.helper.make_model(graph), folder / "model.onnx", save_as_external_data=True, location=location
        )
        (folder / "MLmodel").write_text("flavors: {onnx: {data: model.onnx}}")
        (folder / "other.bin").write_bytes(b"no part of the model")
        assert sorted(native_model(LocalFolder("m", folder)).files) == sorted(["model.onnx", location])
        (folder / location).unlink()
        with pytest.raises(InvalidInputError, match="does not exist"):
            native_model(LocalFolder("m", folder))


@pytest.mark.parametrize(
    "location", [b"../secret", b"/etc/passwd", b"code/inference.py", b"inference.py", b"model.onnx"]
)
def test_an_onnx_file_names_no_script_and_nothing_outside(mlflow: FakeMlflow, location: bytes) -> None:
    content = b"\x0a\x08location\x12" + bytes([len(location)]) + location
    files = {"model.onnx": content, "code/inference.py": b"", "inference.py": b""}
    with pytest.raises(InvalidInputError, match=r"of tensors|not the path of a file inside"):
        native(mlflow, {"onnx": {"data": "model.onnx"}}, files=files)


def test_an_onnx_file_that_ends_in_the_middle_of_a_name(mlflow: FakeMlflow) -> None:
    for number, end in enumerate((b"", b"\x12", b"\x12\xff", b"\x12\xff\x01", b"\x12\x08ab")):
        folder = mlflow.add("fraud", number, {"onnx": {"data": "m.onnx"}}, files={"m.onnx": b"\x0a\x08location" + end})
        try:
            assert list(native_model(LocalFolder("m", folder)).files) == ["model.onnx"]
        except InvalidInputError as error:
            assert "inside the model's folder" in str(error) or "does not exist" in str(error)  # noqa: PT017


@pytest.mark.parametrize(
    "path", ["../x.pkl", "/etc/x.pkl", "a/../../x.pkl", "", ".", None, 3, "a\x00.pkl", "b\\x.pkl", "x?y.pkl"]
)
def test_a_path_that_leaves_the_folder_is_refused(mlflow: FakeMlflow, path: Any) -> None:
    with pytest.raises(InvalidInputError, match="not the path of a file inside"):
        native(mlflow, {"sklearn": {"pickled_model": path}}, "model.pkl")


def test_links_are_refused_because_they_lead_to_any_file_of_the_user(mlflow: FakeMlflow, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    (secret / "sub").mkdir(parents=True)
    (secret / "sub" / "model.pkl").write_bytes(b"secret")
    for number, path in enumerate(("model.pkl", "sub/model.pkl", "MLmodel")):
        folder = mlflow.add("fraud", number, {"sklearn": {"pickled_model": path}})
        (folder / path.partition("/")[0]).unlink(missing_ok=True)
        (folder / path.partition("/")[0]).symlink_to(secret / (path if path == "sub" else path.partition("/")[0]))
        with pytest.raises(InvalidInputError, match="is a link"):
            native_model(LocalFolder("m", folder))


def test_a_file_that_becomes_a_link_after_the_check_is_refused(mlflow: FakeMlflow, tmp_path: Path) -> None:
    folder = mlflow.add("fraud", 1, {"sklearn": {"pickled_model": "model.pkl"}}, files={"model.pkl": b"1"})
    found = native_model(LocalFolder("m", folder))
    (tmp_path / "secret").write_bytes(b"secret")
    (folder / "model.pkl").unlink()
    (folder / "model.pkl").symlink_to(tmp_path / "secret")
    (tmp_path / "placed").mkdir()
    with pytest.raises(InvalidInputError, match="replaced by a link"):
        found.place(tmp_path / "placed")


def test_a_folder_or_a_pipe_in_place_of_the_file_is_refused(mlflow: FakeMlflow) -> None:
    folder = mlflow.add("fraud", 1, {"sklearn": {"pickled_model": "model.pkl"}}, files={"model.pkl/x": b""})
    with pytest.raises(InvalidInputError, match="is not a file"):
        native_model(LocalFolder("m", folder))
    shutil.rmtree(folder / "model.pkl")
    os.mkfifo(folder / "model.pkl")
    with pytest.raises(InvalidInputError, match="is not a file"):
        native_model(LocalFolder("m", folder))
    with pytest.raises(InvalidInputError, match="nope does not exist"):
        native_model(LocalFolder("m", folder / "nope"))


@pytest.mark.parametrize(
    "text", [b"", b"- a", b"flavors: 3", b"flavors: {}", b"{", b"\xff\xfe\x00", b"!!python/object/apply:os.abort []"]
)
def test_an_mlmodel_file_that_is_none(mlflow: FakeMlflow, text: bytes) -> None:
    folder = mlflow.add("fraud")
    (folder / "MLmodel").write_bytes(text)
    with pytest.raises(InvalidInputError, match="names no flavors"):
        native_model(LocalFolder("m", folder))
    (folder / "MLmodel").unlink()
    with pytest.raises(InvalidInputError, match="MLmodel does not exist"):
        native_model(LocalFolder("m", folder))


def test_an_mlmodel_file_of_any_size_is_not_read(mlflow: FakeMlflow) -> None:
    folder = mlflow.add("fraud")
    with (folder / "MLmodel").open("r+b") as file:
        file.truncate(1 << 30)
    with pytest.raises(InvalidInputError, match="more than 16,777,216 bytes"):
        native_model(LocalFolder("m", folder))


class Touched:
    """A pickle that writes a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_no_pickle_is_loaded_here(mlflow: FakeMlflow, tmp_path: Path) -> None:
    touched = tmp_path / "touched"
    content = pickle.dumps(Touched(touched))
    folder = mlflow.add("fraud", 1, {"sklearn": {"pickled_model": "model.pkl"}}, files={"model.pkl": content})
    (tmp_path / "placed").mkdir()
    native_model(LocalFolder("m", folder)).place(tmp_path / "placed")
    assert not touched.exists()
    pickle.loads((tmp_path / "placed" / "model.pkl").read_bytes())
    assert touched.exists(), "the pickle works"


def test_a_download_that_lands_elsewhere_is_refused(mlflow: FakeMlflow, tmp_path: Path) -> None:
    folder = mlflow.add("fraud")
    (tmp_path / "scratch").mkdir()
    remote = RemoteFolder("m", tmp_path / "scratch", lambda path, target: str(folder / path))
    with pytest.raises(InvalidInputError, match="outside"):
        native_model(remote)

    def linked(path: str, target: Path) -> str:
        (target / path).symlink_to(folder / path)
        return str(target / path)

    with pytest.raises(InvalidInputError, match="outside"):
        native_model(RemoteFolder("m", tmp_path / "scratch", linked))


def test_a_store_on_this_machine_is_read_where_it_is(mlflow: FakeMlflow, tmp_path: Path) -> None:
    mlflow.remote = False
    expected = mlflow.add("fraud model", 1)
    (version,) = mlflow.tracking().versions()
    assert mlflow.tracking().folder(version, tmp_path) == LocalFolder("models:/fraud model/1", expected)
    assert mlflow.tracking().folder(str(expected), tmp_path) == LocalFolder(str(expected), expected)
    assert mlflow.downloaded == []


def test_the_query_of_an_address_stays_behind_the_path(tmp_path: Path) -> None:
    asked: list[str] = []

    def download(*, artifact_uri: str, dst_path: str, **_: Any) -> str:
        asked.append(artifact_uri)
        (Path(dst_path) / "MLmodel").write_text("flavors: {spark: {}}")
        return f"{dst_path}/MLmodel"

    folder = Tracking(None, download).folder("http://store/models/7/?api=2", tmp_path)
    with pytest.raises(LayoutError):
        native_model(folder)
    assert asked == ["http://store/models/7/MLmodel?api=2"]
