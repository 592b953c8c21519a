"""The libraries that the ordinary run does not install: answers equal those of the library itself.

Run it with `pip install 'mme-sdk[catboost,huggingface,tensorflow]'`.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from mme_sdk.artifacts import save
from mme_sdk.errors import InvalidInputError
from tests.support.containers.harness import Container, running, script

pytestmark = pytest.mark.slow
CSV, JSON, NPY = "text/csv", "application/json", "application/x-npy"
DLC = "763104351884.dkr.ecr.us-east-1.amazonaws.com"
TENSORFLOW, PYTORCH = f"{DLC}/tensorflow-inference:2.19.0-cpu", f"{DLC}/pytorch-inference:2.6.0-cpu"
HUGGINGFACE = f"{DLC}/huggingface-pytorch-inference:2.6.0-transformers4.49.0-cpu"
ROWS = np.array([[0.0, 1.0], [1.0, 2.0], [2.0, 5.0], [3.0, -1.0]])


def environment(image: str) -> dict[str, str]:
    return {**os.environ, "MME_IMAGE": image}


@pytest.fixture(scope="module")
def any_image() -> Iterator[Container]:
    with running("--preload", "") as container:
        yield container.healthy()


@pytest.mark.parametrize("kind", ["CatBoostClassifier", "CatBoostRegressor"])
def test_catboost(any_image: Container, tmp_path: Path, kind: str) -> None:
    catboost = pytest.importorskip("catboost")
    labels = ["no", "yes", "yes", "no"] if kind == "CatBoostClassifier" else [0.5, 1.0, 2.5, 3.0]
    model = getattr(catboost, kind)(iterations=5, verbose=False, allow_writing_files=False).fit(ROWS, labels)
    assert save(model, tmp_path) == tmp_path / "model.cbm"
    with pytest.raises(InvalidInputError, match="not fitted"):
        save(getattr(catboost, kind)(), tmp_path)
    status, said = any_image.load(kind, tmp_path)
    assert status == 200, said
    answer = json.loads(any_image.invoke(kind, ROWS.tolist())[1])
    assert np.ravel(answer).tolist() == np.ravel(model.predict(ROWS)).tolist()


def test_torchscript(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Dropout(0.9), torch.nn.Linear(3, 1))
    (tmp_path / "plain").mkdir()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # newer versions of torch deprecate TorchScript
        torch.jit.script(model).save(str(tmp_path / "plain" / "net.pth"))
    state = tmp_path / "state"
    state.mkdir()
    torch.save(model.state_dict(), state / "model.pt")
    source = "import torch\ndef predict_fn(data, model):\n    assert isinstance(data, torch.Tensor)\n"
    source += "    return model(data) + 1\n"
    with_script = script(tmp_path / "script", source)
    (with_script / "net.pth").write_bytes((tmp_path / "plain/net.pth").read_bytes())
    expected = model.eval()(torch.FloatTensor(ROWS)).detach().numpy()
    with running("--preload", "", env=environment(PYTORCH)) as container:
        assert container.healthy().load("plain", tmp_path / "plain")[0] == 200
        for body, content_type in (
            (json.dumps(ROWS.tolist()).encode(), JSON),
            ("\n".join(",".join(map(str, row)) for row in ROWS).encode(), CSV),
        ):
            status, said, _ = container.invoke("plain", body, content_type)
            assert status == 200, said
            np.testing.assert_allclose(json.loads(said), expected, rtol=1e-5)
        status, said, _ = container.invoke("plain", b"0,1", CSV)
        np.testing.assert_allclose(json.loads(said), expected[0], rtol=1e-5)
        assert container.invoke("plain", b"x", "text/plain")[0] == 415
        assert container.load("script", with_script)[0] == 200
        np.testing.assert_allclose(json.loads(container.invoke("script", ROWS.tolist())[1]), expected + 1, rtol=1e-5)
        # CSV has the dimensions that AWS's own decoder gives it.
        decoder = pytest.importorskip("sagemaker_inference.decoder")
        shapes = script(
            tmp_path / "shapes", "def model_fn(d): pass\ndef predict_fn(data, model): return list(data.shape)\n"
        )
        assert container.load("shapes", shapes)[0] == 200
        for body in ("1,2", "1\n2\n3", "1,2\n3,4", "1"):
            shape = decoder.decode(body, CSV).shape
            assert json.loads(container.invoke("shapes", body.encode(), CSV)[1]) == list(shape)
        status, answer = container.load("state", state)
        assert (status, "model.pt is not TorchScript" in answer["message"]) == (500, True), answer


def test_a_pipeline(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("torch")
    (tmp_path / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad"]))
    tokenizer = transformers.BertTokenizer(str(tmp_path / "vocab.txt"))
    config = transformers.BertConfig(
        vocab_size=7, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8, num_labels=2
    )
    folder = tmp_path / "model"
    transformers.BertForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    own = transformers.pipeline("text-classification", model=str(folder), tokenizer=str(folder), device=-1)
    for image in (HUGGINGFACE, "own/server:1"):
        with running("--preload", "", env=environment(image)) as container:
            status, said = container.healthy().load("bert", folder)
            assert status == 200, said
            for body, content_type, expected in (
                (b'{"inputs": "good"}', JSON, own("good")),
                (b'{"inputs": ["good", "bad"], "parameters": {"top_k": 2}}', JSON, own(["good", "bad"], top_k=2)),
                (b"inputs\ngood\nbad\n", CSV, own(["good", "bad"])),
            ):
                status, said, headers = container.invoke("bert", body, content_type)
                assert (status, headers["content-type"]) == (200, JSON), said
                for answer, wanted in zip(np.ravel(json.loads(said)), np.ravel(expected), strict=True):
                    assert answer["label"] == wanted["label"]
                    assert answer["score"] == pytest.approx(wanted["score"], rel=1e-5)


def test_a_saved_model(tmp_path: Path) -> None:
    tf = pytest.importorskip("tensorflow")

    class Net(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32, "rows")])
        def score(self, rows: object) -> object:
            return {
                "total": tf.reduce_sum(rows, axis=1),
                "size": tf.shape(rows)[1:2] * tf.ones([tf.shape(rows)[0]], tf.int32),
            }

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "image_bytes")])
        def length(self, image_bytes: object) -> object:
            return {"length": tf.strings.length(image_bytes)}

    net = Net()
    folder = script(
        tmp_path / "m",
        "def handler(data, context):\n    import requests\n"
        "    answer = requests.post(context.rest_uri, data=data.read())\n"
        "    return answer.content, 'application/json'\n",
    )
    tf.saved_model.save(net, str(folder / "1"), signatures={"serving_default": net.score, "length": net.length})
    with running("--model", str(folder), "--preload", "", env=environment(TENSORFLOW)) as container:
        container.healthy()
        for body, wanted in (
            ({"instances": [[1, 2], [3, 4]]}, {"predictions": [{"size": 2, "total": 3.0}, {"size": 2, "total": 7.0}]}),
            ({"inputs": [[1, 2]]}, {"outputs": {"size": [2], "total": [3.0]}}),
            ({"signature_name": "length", "instances": [{"b64": "YWJj"}, "de"]}, {"predictions": [3, 2]}),
        ):
            status, said, _ = container.ask("POST", "/invocations", json.dumps(body).encode(), {"Content-Type": JSON})
            assert (status, json.loads(said)) == (200, wanted)
        _, said, _ = container.ask("POST", "/invocations", b'{"instances": [["a", "b"]]}', {"Content-Type": JSON})
        assert list(json.loads(said)) == ["error"]
