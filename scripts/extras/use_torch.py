"""A TorchScript model is saved, loaded and asked."""

from pathlib import Path

import torch
from models import answer

Path("model").mkdir()
torch.jit.save(torch.jit.script(torch.nn.ReLU()), "model/model.pt")
assert [float(one) for one in answer("model", torch.tensor([-1.0, 2.0]))] == [0.0, 2.0]
