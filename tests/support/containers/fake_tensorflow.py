"""A stand-in for TensorFlow: a SavedModel multiplies its inputs by the number in its file, or adds two of them."""

from __future__ import annotations

from pathlib import Path

SOURCE = """
from pathlib import Path
from types import SimpleNamespace
import numpy as np

class Tensor:
    def __init__(self, array): self.array = array
    def numpy(self): return self.array

def constant(value, dtype): return Tensor(np.array(value, dtype=dtype))

class Signature:
    def __init__(self, text):
        names, self.factor = (["a", "b"], 1.0) if text == "sum" else (["x"], float(text))
        self.structured_input_signature = ((), {name: SimpleNamespace(dtype="float32") for name in names})
    def __call__(self, **given):
        total = sum(one.array for one in given.values()) * self.factor
        return {"y": Tensor(total)} if len(given) == 1 else {"y": Tensor(total), "text_bytes": Tensor(
            np.array([b"\\xff"] * len(total), dtype=object))}

def load(folder):
    return SimpleNamespace(signatures={"serving_default": Signature(Path(folder, "saved_model.pb").read_text())})

saved_model = SimpleNamespace(load=load)
config = SimpleNamespace(threading=SimpleNamespace(
    set_intra_op_parallelism_threads=print, set_inter_op_parallelism_threads=print))
"""


def install(folder: Path) -> str:
    """Write the module and return the folder for PYTHONPATH."""
    folder.mkdir()
    (folder / "tensorflow.py").write_text(SOURCE)
    return str(folder)
