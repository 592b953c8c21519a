"""The fixture `mme_endpoint` of the pytest plugin."""

from __future__ import annotations

import pytest

from mme_sdk.testing import mme_bucket, mme_client, mme_endpoint

__all__ = ["mme_bucket", "mme_client", "mme_endpoint"]
DOUBLE = """
def model_fn(folder): return 2
def input_fn(body, kind): return float(body)
def predict_fn(data, model): return data * model
def output_fn(found, accept): return str(found), "application/json"
"""


@pytest.fixture(scope="session")
def mme_local(local):
    """The plugin's fixture, replaced by the host of these tests."""
    return local


def test_an_endpoint_serves_its_models(mme_endpoint, tmp_path, made):
    script = tmp_path / "double" / "code" / "inference.py"
    script.parent.mkdir(parents=True)
    script.write_text(DOUBLE)
    endpoint = mme_endpoint(models={"double": tmp_path / "double"}, name="plugin")
    made.append(endpoint.name)
    assert endpoint.invoke(21, model="double").value == 42


def test_the_endpoint_was_deleted(mme_client, made):
    assert made == ["plugin"]
    assert mme_client.endpoints.list("plugin") == []


@pytest.fixture(scope="module")
def made():
    """Names of the endpoints that the tests of this module have created."""
    return []
