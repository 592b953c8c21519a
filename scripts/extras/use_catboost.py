"""A model is saved, loaded and asked."""

from pathlib import Path

from catboost import CatBoostRegressor
from models import answer

from mme_sdk.artifacts import save

Path("model").mkdir()
save(CatBoostRegressor(iterations=1, verbose=False, allow_writing_files=False).fit([[0.0], [1.0]], [0, 1]), "model")
assert len(answer("model", [[2.0]])) == 1
