"""A model is saved, loaded and asked."""

from pathlib import Path

import numpy as np
from models import answer
from xgboost import DMatrix, train

from mme_sdk.artifacts import save

Path("model").mkdir()
save(train({}, DMatrix(np.array([[0.0], [1.0]]), [0, 1]), 1), "model")
assert len(answer("model", [[2.0]])) == 1
