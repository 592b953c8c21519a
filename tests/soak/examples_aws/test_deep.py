"""PyTorch with a script, TensorFlow with and without handlers, and a Hugging Face pipeline from its files."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.soak.examples_aws.ways import CSV, JSON, NPY, Served, Way, csv_of, need

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # the libraries warn about their own parts
DLC = "763104351884.dkr.ecr.us-east-1.amazonaws.com"
PYTORCH = f"{DLC}/pytorch-inference:2.6.0-cpu-py312"
TENSORFLOW = f"{DLC}/tensorflow-inference:2.19.0-cpu"
HUGGINGFACE = f"{DLC}/huggingface-pytorch-inference:2.6.0-transformers4.49.0-cpu-py312"
ROWS = np.random.default_rng(2).normal(size=(3, 4)).round(3)
NETWORK = """
import os
import torch

class Network(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Linear(4, 6), torch.nn.ReLU(), torch.nn.Dropout(0.5), torch.nn.Linear(6, 3)
        )

    def forward(self, rows):
        return torch.nn.functional.log_softmax(self.layers(rows), dim=1)

def model_fn(model_dir):
    network = Network()
    network.load_state_dict(torch.load(os.path.join(model_dir, "model.pth"), weights_only=True))
    return network.eval()

def predict_fn(data, network):
    with torch.no_grad():
        return network(data)
"""
HANDLERS = """
import json

def input_handler(data, context):
    if context.request_content_type != "text/csv":
        raise ValueError("this model reads text/csv only")
    rows = [[float(field) for field in line.split(",")] for line in data.read().decode().splitlines()]
    return json.dumps({"instances": rows})

def output_handler(response, context):
    if response.status_code != 200:
        raise ValueError(response.content.decode())
    totals = json.loads(response.content)["predictions"]
    return json.dumps({"totals": totals}), context.accept_header
"""


def test_pytorch_with_a_script(way: Way, tmp_path: Path) -> None:
    need("PyTorch", "torch")
    import torch

    code: dict[str, Any] = {}
    exec(NETWORK, code)  # the network of the script above
    torch.manual_seed(1)
    network = code["Network"]().eval()
    (tmp_path / "m" / "code").mkdir(parents=True)
    torch.save(network.state_dict(), tmp_path / "m" / "model.pth")
    (tmp_path / "m" / "code" / "inference.py").write_text(NETWORK)
    way.deploy("torch", Served(PYTORCH, tmp_path / "m"))
    with torch.no_grad():
        own = network(torch.tensor(ROWS, dtype=torch.float32)).numpy()
    packed = io.BytesIO()
    np.save(packed, ROWS.astype("float32"))
    for body, content_type in ((json.dumps(ROWS.tolist()), JSON), (csv_of(ROWS), CSV), (packed.getvalue(), NPY)):
        for accept in (JSON, CSV, NPY):
            answer = way.ask("torch", body, content_type, accept)
            assert answer.content_type == accept
            np.testing.assert_allclose(answer.value, own, rtol=1e-5)


def test_tensorflow(way: Way, tmp_path: Path) -> None:
    need("TensorFlow", "tensorflow")
    import tensorflow as tf

    class Net(tf.Module):
        def __init__(self) -> None:
            self.weights = tf.Variable([[1.5], [-2.0], [0.25], [3.0]])

        @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32)])
        def score(self, rows: Any) -> Any:
            return tf.sigmoid(rows @ self.weights)

    net = Net()
    for folder in ("plain", "handled"):
        tf.saved_model.save(net, str(tmp_path / folder / "1"), signatures=net.score)
    (tmp_path / "handled" / "code").mkdir()
    (tmp_path / "handled" / "code" / "inference.py").write_text(HANDLERS)
    way.deploy("tf-many", Served(TENSORFLOW, {"net": tmp_path / "plain"}))
    way.deploy("tf-one", Served(TENSORFLOW, tmp_path / "handled"))
    own = net.score(tf.constant(ROWS, tf.float32)).numpy()
    answer = way.ask("tf-many", json.dumps({"instances": ROWS.tolist()}), JSON, JSON, model="net")
    np.testing.assert_allclose(answer.value["predictions"], own, rtol=1e-5)
    answer = way.ask("tf-one", csv_of(ROWS), CSV, JSON)
    np.testing.assert_allclose(answer.value["totals"], own, rtol=1e-5)


def test_hugging_face_pipeline(way: Way, tmp_path: Path) -> None:
    need("Hugging Face", "transformers", "torch")
    import torch
    import transformers

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad", "film"]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    tokenizer = transformers.BertTokenizer(str(tmp_path / "vocab.txt"))
    torch.manual_seed(3)
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    config = transformers.BertConfig(vocab_size=len(words), num_labels=2, initializer_range=1.0, **sizes)
    folder = tmp_path / "m"
    transformers.BertForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    own = transformers.pipeline("text-classification", model=str(folder), tokenizer=str(folder), device=-1)
    way.deploy("reviews", Served(HUGGINGFACE, folder, {"HF_TASK": "text-classification"}))
    reviews = ["good film", "bad film", "good bad"]
    for inputs, parameters in ((reviews[0], {}), (reviews, {}), (reviews, {"top_k": None})):
        body = json.dumps({"inputs": inputs} | ({"parameters": parameters} if parameters else {}))
        answer = way.ask("reviews", body, JSON, JSON)
        given, wanted = np.ravel(answer.value), np.ravel(own(inputs, **parameters))
        assert [one["label"] for one in given] == [one["label"] for one in wanted]
        assert [one["score"] for one in given] == pytest.approx([one["score"] for one in wanted], rel=1e-5)
