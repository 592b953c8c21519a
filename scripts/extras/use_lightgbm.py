"""A model is saved, loaded and asked."""

from pathlib import Path

import numpy as np
from lightgbm import Dataset, train
from models import answer

from mme_sdk.artifacts import save

Path("model").mkdir()
save(train({"verbose": -1}, Dataset(np.eye(40), list(range(40))), 1), "model")
assert len(answer("model", np.eye(40)[:3])) == 3
