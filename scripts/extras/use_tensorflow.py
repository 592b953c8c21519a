"""A SavedModel is saved, loaded and asked."""

from pathlib import Path

import requests  # noqa: F401 - scripts for TensorFlow's image import it
import tensorflow as tf

from mme_sdk.local.containers.python.images.saved_models import SavedModels


class Double(tf.Module):
    """A model."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32)])
    def score(self, rows: object) -> object:
        """Double the rows."""
        return {"doubled": rows * 2.0}


double = Double()
tf.saved_model.save(double, "model/1", signatures=double.score)
said = SavedModels(Path("model"), ["1/saved_model.pb"]).post("model:predict", b'{"instances": [1.5]}')
assert said.json() == {"predictions": [3.0]}, said.text
