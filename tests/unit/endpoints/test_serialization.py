"""Specs in YAML: there and back, the short forms, and refusals that say where."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given, settings

from mme_sdk.endpoints import EndpointSpec
from mme_sdk.errors import InvalidInputError, MissingExtraError
from tests.support.endpoints.helpers import IMAGE, ROLE, multi, single
from tests.support.endpoints.strategies import specs

SHORT = f"""
multi_model:
  name: scoring
  models: s3://ml-models/prod/
  image: {IMAGE}
  role: {ROLE}
  instance_type: ml.m5.xlarge
  instance_count: 2
  environment:
    LEVEL: 3
  tags: {{team: fraud}}
  autoscaling:
    min: 2
    max: 8
    schedule:
      - {{name: night, when: "cron(0 22 * * ? *)", max: 2}}
  vpc:
    subnets: [subnet-1]
    security_groups: [sg-1]
"""


@settings(deadline=None)
@given(specs())
def test_there_and_back(spec):
    assert EndpointSpec.from_dict(spec.to_dict()) == spec
    assert EndpointSpec.from_yaml(spec.to_yaml()) == spec


def test_the_short_form_is_the_factory(tmp_path):
    path = tmp_path / "scoring.yaml"
    path.write_text(SHORT)
    spec = EndpointSpec.from_yaml(path)
    assert EndpointSpec.from_yaml(str(path)) == EndpointSpec.from_yaml(SHORT) == spec
    assert spec.variants[0].autoscaling.schedule[0].name == "night"
    assert spec.variants[0].containers[0].environment == {"LEVEL": "3"}
    assert spec.vpc.subnets == ("subnet-1",)
    assert single("a").to_yaml(tmp_path / "a.yaml") == (tmp_path / "a.yaml").read_text()


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("a: [\nb", "the text is not valid YAML", None),
        ("\n", "a spec has one key, one of endpoint, multi_model, single_model, not None", None),
        ("- a\n- b", "a spec has one key", None),
        ("multi_modell:\n  name: a", "'multi_modell' is not one of", None),
        ("endpoint:\n  name: a", "endpoint: variants, role is missing", None),
        ("multi_model: 3\n", "multi_model must be a mapping of fields, not 3", None),
        ("multi_model:\n  name: a\n  image: b", "multi_model: missing 3 required", None),
        (SHORT.replace("instance_type", "instnace_type"), "multi_model: unknown key 'instnace_type'", "instance_type"),
        (SHORT.replace("min: 2", "min: two"), r"multi_model.autoscaling: Autoscaling.min must be a whole number", None),
        (SHORT.replace("max: 2}", "maxx: 2}"), r"multi_model.autoscaling.schedule\[0\]: unknown key 'maxx'", "max"),
        (SHORT.replace("ml.m5.xlarge", "ml.g5.12xlarge"), "instance_type: ml.g5.12xlarge cannot host", "single-GPU"),
        (
            SHORT + "  async_inference: 3\n",
            "async_inference must be of type AsyncInference",
            None,
        ),
        ("nowhere.yaml", "nowhere.yaml cannot be read", None),
    ],
)
def test_refusals_say_where(text, message, hint):
    with pytest.raises(InvalidInputError, match=message) as caught:
        EndpointSpec.from_yaml(text)
    assert hint is None or hint in caught.value.hint


def test_a_live_spec_goes_to_yaml_and_back():
    spec = multi("scoring", environment={"A": "1"})
    assert spec.to_yaml().splitlines()[:2] == ["endpoint:", "  name: scoring"]


def test_yaml_needs_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(MissingExtraError, match="PyYAML") as caught:
        EndpointSpec.from_yaml(SHORT)
    assert "mme-sdk[yaml]" in caught.value.hint
