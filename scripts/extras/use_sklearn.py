"""A model is saved with skops, loaded and asked."""

from pathlib import Path

from models import answer
from sklearn.linear_model import LinearRegression

from mme_sdk.artifacts import save

Path("model").mkdir()
assert save(LinearRegression().fit([[0.0], [1.0]], [0.0, 1.0]), "model").suffix == ".skops"
assert round(answer("model", [[2.0]])[0], 6) == 2.0
