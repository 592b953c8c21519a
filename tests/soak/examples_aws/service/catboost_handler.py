"""The handler service of the CatBoost example. Multi Model Server imports it in its own process."""

import json
from pathlib import Path

import numpy as np
from catboost import CatBoostRegressor


class Handler:
    """Load one CatBoost model, and answer CSV with JSON."""

    def __init__(self):
        self.model = None

    def initialize(self, context):
        """Load the only `.cbm` file of the model's folder."""
        (file,) = Path(context.system_properties["model_dir"]).glob("*.cbm")
        self.model = CatBoostRegressor().load_model(str(file))

    def handle(self, data, context):
        """Return one body for each request of the batch."""
        if data is None:  # the server calls the handler once without data
            return None
        for index in range(len(data)):
            context.set_response_content_type(index, "application/json")
        bodies = [bytes(request["body"]).decode() for request in data]
        rows = [np.array([line.split(",") for line in body.splitlines()], dtype=float) for body in bodies]
        return [json.dumps(self.model.predict(one).tolist()) for one in rows]
