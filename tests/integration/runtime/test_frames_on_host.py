"""Frames through the embedded SageMaker: what a model gets is what the same model gets in this process."""

from __future__ import annotations

import asyncio
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from mme_sdk.errors import ModelError, ModelInputError, RowCountError
from mme_sdk.runtime.payloads.codecs import CSV, JSON, NPY, PARQUET
from tests.support.runtime.world import World

HEADER = f"{CSV}; header=present"
ECHO = """
import io, json
import numpy as np
import pandas as pd

def model_fn(directory):
    return None

def input_fn(body, content_type):
    raw = body if isinstance(body, bytes) else body.encode()
    if content_type.startswith("text/csv"):
        return pd.read_csv(io.BytesIO(raw), header=0 if "header=present" in content_type else None)
    if content_type == "application/x-parquet":
        return pd.read_parquet(io.BytesIO(raw))
    if content_type == "application/x-npy":
        return pd.DataFrame(np.load(io.BytesIO(raw)))
    return pd.DataFrame(json.loads(raw))

def plain(value):
    if isinstance(value, (list, np.ndarray)):
        return [plain(one) for one in value]
    if pd.isna(value):
        return None
    if isinstance(value, (str, bool, np.bool_)):
        return value if isinstance(value, str) else float(value)
    return float(value) if isinstance(value, (int, float, np.number)) else str(value)

def predict_fn(frame, model):
    columns = [frame.iloc[:, place].astype(object).tolist() for place in range(frame.shape[1])]
    return [json.dumps([plain(one) for one in row]) for row in zip(*columns)]

def output_fn(prediction, accept):
    if accept == "text/csv":
        return pd.DataFrame({"said": prediction}).to_csv(index=False, header=False), "text/csv"
    if accept == "application/x-parquet":
        out = io.BytesIO()
        pd.DataFrame({"said": prediction}).to_parquet(out)
        return out.getvalue(), accept
    return json.dumps(prediction), "application/json"
"""
own: dict[str, Any] = {}
exec(ECHO, own)

FRAMES: dict[str, tuple[pd.DataFrame, tuple[str, ...]]] = {
    "numbers": (
        pd.DataFrame({"a": [1, 2, 3], "b": [0.1, np.nan, 1e300], "c": [True, False, True]}, index=[7, 7, 9]),
        (CSV, HEADER, JSON, NPY, PARQUET),
    ),
    "one column": (pd.DataFrame({"a": [0.5, np.nan]}), (CSV, HEADER, JSON, NPY, PARQUET)),
    "one row": (pd.DataFrame({"a": [1], "b": [2]}), (CSV, HEADER, JSON, NPY, PARQUET)),
    "no names": (pd.DataFrame([[1.5, 2], [3, 4]]), (CSV, JSON, NPY)),
    "text": (
        pd.DataFrame({"t": ["a,b", 'say "hi"', "two\nlines", " ü "], "n": [1, 2, 3, 4]}),
        (CSV, HEADER, JSON, PARQUET),
    ),
    "categories": (
        pd.DataFrame({"t": pd.Categorical(["x", None, "x"]), "n": pd.array([1, None, 3], dtype="Int64")}),
        (CSV, HEADER, JSON, PARQUET),
    ),
    "dates": (pd.DataFrame({"d": pd.to_datetime(["2024-01-01", None]), "z": [1, 2]}), (PARQUET,)),
    "lists": (pd.DataFrame({"v": [[1.5, 2.5], [3.5]], "n": [1, 2]}), (JSON, PARQUET)),
}


@pytest.fixture(scope="module")
def echo(world: World) -> str:
    (world.folder / "echo" / "code").mkdir(parents=True)
    (world.folder / "echo" / "code" / "inference.py").write_text(ECHO)
    return world.models.register("echo", world.folder / "echo", version="v1").target_model


def dumped(world: World, name: str, model: Any) -> str:
    (world.folder / name).mkdir()
    joblib.dump(model, world.folder / name / "model.joblib")
    return world.models.register(name, world.folder / name, version="v1").target_model


@pytest.mark.parametrize("name", list(FRAMES))
def test_a_script_gets_the_same_values(world: World, echo: str, name: str) -> None:
    frame, accepted = FRAMES[name]
    wanted = own["predict_fn"](frame, None)
    endpoint = world.client.endpoint("scoring")
    for content_type in accepted:
        assert endpoint.invoke(frame, model=echo, content_type=content_type).value == wanted

    async def main() -> None:
        async with world.host.async_client() as client:
            twin = client.endpoint("scoring")
            for content_type in accepted:
                assert (await twin.invoke(frame, model=echo, content_type=content_type)).value == wanted
            said = await twin.invoke_frame(frame, model_of=lambda _: echo, content_type=accepted[-1], rows_per_call=2)
            assert said["prediction"].tolist() == wanted

    asyncio.run(main())
    for accept in ("text/csv", "application/x-parquet", "application/json"):
        reply = endpoint.invoke(frame, model=echo, content_type=accepted[0], accept=accept, response_type=pd.DataFrame)
        assert reply.value.iloc[:, 0].tolist() == wanted
        answer = endpoint.invoke_frame(
            frame, model_of=lambda _: echo, content_type=accepted[0], accept=accept, rows_per_call=2
        )
        assert answer["prediction"].tolist() == wanted
        assert answer.index.equals(frame.index)


def test_a_model_answers_a_frame_as_it_does_here(world: World) -> None:
    random = np.random.default_rng(7)
    frame = pd.DataFrame(random.normal(size=(40, 3)), columns=["b", "a", "c"])
    frame.loc[::7, "a"] = np.nan
    model = HistGradientBoostingRegressor(max_iter=5).fit(frame.to_numpy(), frame["b"])
    target, endpoint = dumped(world, "gaps", model), world.client.endpoint("scoring")
    wanted = model.predict(frame.to_numpy())
    for content_type in (CSV, NPY):
        reply = endpoint.invoke(frame, model=target, content_type=content_type, response_type=np.ndarray)
        assert reply.value.tolist() == wanted.tolist()
        answer = endpoint.invoke_frame(frame, model_of=lambda _: target, content_type=content_type, rows_per_call=7)
        assert answer["prediction"].tolist() == wanted.tolist()
    unnamed = pd.DataFrame(frame.to_numpy())  # JSON without names; null is NaN
    assert endpoint.invoke(unnamed, model=target, content_type=JSON).value == wanted.tolist()
    for accept in ("text/csv", "application/x-npy", "application/json"):
        reply = endpoint.invoke(frame, model=target, accept=accept, response_type=pd.DataFrame)
        assert reply.value.shape == (40, 1)
        assert reply.value[0].tolist() == wanted.tolist()


def test_a_model_of_named_columns_gets_them_by_name(world: World) -> None:
    frame = pd.DataFrame({"t": ["x", "y,z", "x"], "n": [1, 2, 3]})
    model = make_pipeline(
        make_column_transformer((OneHotEncoder(), ["t"]), remainder="passthrough"), LinearRegression()
    )
    model.fit(frame, [1.0, 2.0, 3.0])
    target, endpoint = dumped(world, "named", model), world.client.endpoint("scoring")
    wanted = model.predict(frame)
    for content_type in (JSON, HEADER, PARQUET):
        reply = endpoint.invoke(frame[["n", "t"]], model=target, content_type=content_type, response_type=np.ndarray)
        np.testing.assert_array_equal(reply.value, wanted)
    with pytest.raises(ModelInputError, match="Remove the header row"):
        endpoint.invoke(frame, model=target)
    with pytest.raises(ModelInputError, match="content_type="):
        endpoint.invoke_frame(frame, model_of=lambda _: target)


def test_a_header_that_nobody_announced_is_refused(world: World) -> None:
    model = LinearRegression().fit([[0.0, 0.0], [1.0, 1.0], [2.0, 0.0]], [0.0, 1.0, 2.0])
    target, endpoint = dumped(world, "line", model), world.client.endpoint("scoring")
    with pytest.raises(ModelInputError, match="Remove the header row"):
        endpoint.invoke(b"a,b\n1,2\n", model=target, content_type=CSV)
    named = b"a,b\n1,2\n"
    assert endpoint.invoke(named, model=target, content_type=HEADER).value == pytest.approx([1.0])
    series = pd.Series([1.0, 2.0], name="a")
    with pytest.raises(ModelError, match="features"):
        endpoint.invoke(series, model=target)


def test_a_model_that_answers_too_little_is_caught(world: World) -> None:
    (world.folder / "mean" / "code").mkdir(parents=True)
    (world.folder / "mean" / "code" / "inference.py").write_text(
        "def model_fn(d): return 1\ndef predict_fn(data, model): return data.mean(axis=0)\n"
    )
    target = world.models.register("mean", world.folder / "mean", version="v1").target_model
    endpoint, rows = world.client.endpoint("scoring"), np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    for data in (rows, pd.DataFrame(rows)):
        with pytest.raises(RowCountError, match="2 results for 3 rows"):
            endpoint.invoke(data, model=target)
    assert endpoint.invoke(rows, model=target, response_type=bytes).value == b"[3.0, 4.0]"
    with pytest.raises(RowCountError):
        endpoint.invoke_frame(pd.DataFrame(rows), model_of=lambda _: target)
