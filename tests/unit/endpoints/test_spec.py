"""What SageMaker would refuse late is refused when the spec is made; each refusal names the field and the rule."""

from __future__ import annotations

import pickle

import attrs
import pytest
from botocore import xform_name
from botocore.loaders import Loader
from botocore.model import ServiceModel
from botocore.validate import ParamValidator

from mme_sdk.endpoints import (
    AsyncInference,
    Autoscaling,
    BlueGreen,
    Container,
    DataCapture,
    EndpointSpec,
    Rolling,
    Schedule,
    Serverless,
    Variant,
    Vpc,
)
from mme_sdk.errors import InvalidInputError
from tests.support.endpoints.helpers import IMAGE, ROLE, multi, single

PREFIX = "s3://ml-models/prod/"


def pipeline(*modes: str):
    return tuple(
        Container(image=IMAGE, mode=mode, model_data=PREFIX if mode == "MultiModel" else None) for mode in modes
    )


REFUSED = {
    # names
    "name must have at most 63 characters, not 64: 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa": lambda: multi("a" * 64),
    "name must consist of letters, digits and '-', and begin and end with a letter or digit, not 'a_b'": lambda: multi(
        "a_b"
    ),
    "name must consist of letters, digits and '-', and begin and end with a letter or digit, not '-a'": lambda: multi(
        "-a"
    ),
    "name must be a name, not None": lambda: multi(None),
    "variant must be a name, not ''": lambda: multi("a", variant=""),
    "hostname must consist of letters, digits and '-', and begin and end with a letter or digit, not 'a.b'": lambda: (
        Container(image="i", hostname="a.b")
    ),
    # what is hosted
    "model_data: 's3://b-b/x.tar.gz' is an archive; a multi-model container needs a prefix": lambda: multi(
        "a", models="s3://b-b/x.tar.gz"
    ),
    "model_data: 's3://b-b/x/' is a prefix": lambda: single("a", artifact="s3://b-b/x/"),
    "models: 'prod/' is not an S3 address": lambda: multi("a", models="prod/"),
    "model_data: a multi-model container needs": lambda: Container(image="i", mode="MultiModel"),
    "models: at most 1024 characters": lambda: multi("a", models=f"s3://b-b/{'x' * 1020}/"),
    "mode: 'SingleModel' or 'MultiModel', not 'Multi'": lambda: Container(image="i", mode="Multi"),
    "model_cache: False is available with multi-model containers only": lambda: Container(image="i", model_cache=False),
    "extra: ModelDataSource is not available with multi-model": lambda: Container(
        image="i", mode="MultiModel", model_data=PREFIX, extra={"ModelDataSource": {}}
    ),
    "image: must be an image URI without white space, not 'a b'": lambda: multi("a", image="a b"),
    "image: at most 255 characters, not 256": lambda: multi("a", image="i" * 256),
    "environment: '1A' is not a variable name (letters, digits and '_')": lambda: multi("a", environment={"1A": "x"}),
    "environment: the value of A has 1025 characters": lambda: multi("a", environment={"A": "x" * 1025}),
    "environment: at most 100 variables, not 101": lambda: multi("a", environment={f"A{n}": "" for n in range(101)}),
    "containers: a pipeline can have only one multi-model container": lambda: Variant(
        containers=pipeline("MultiModel", "MultiModel"), instance_type="ml.m5.large"
    ),
    "containers: a variant has 1 to 15 containers, not 16": lambda: Variant(
        containers=pipeline(*["SingleModel"] * 16), instance_type="ml.m5.large"
    ),
    # instances
    "instance_type: ml.g5.12xlarge cannot host a multi-model": lambda: multi("a", instance_type="ml.g5.12xlarge"),
    "instance_type: ml.g6.xlarge cannot host a multi-model": lambda: multi("a", instance_type="ml.g6.xlarge"),
    "instance_type: ml.inf1.xlarge cannot host a multi-model": lambda: multi("a", instance_type="ml.inf1.xlarge"),
    "instance_type: 'm5.large' is not an instance type for hosting; these look like 'ml.m5.xlarge'": lambda: multi(
        "a", instance_type="m5.large"
    ),
    "instance_type: give an instance type, such as 'ml.m5.xlarge', or serverless=…": lambda: single(
        "a", instance_type=None
    ),
    "Variant.instance_count must be a whole number at least 1 and at most 10000, not 0": lambda: multi(
        "a", instance_count=0
    ),
    "Variant.instance_count must be a whole number at least 1 and at most 10000, not True": lambda: multi(
        "a", instance_count=True
    ),
    "volume_gb: ml.g4dn.xlarge has local storage": lambda: multi("a", instance_type="ml.g4dn.xlarge", volume_gb=50),
    "Variant.volume_gb must be a whole number at least 1 and at most 512, not 513": lambda: multi("a", volume_gb=513),
    "kms_key: not available with ml.m5d.large": lambda: multi("a", instance_type="ml.m5d.large", kms_key="k"),
    "kms_key must be a KMS key id, alias or ARN, not 'a key'": lambda: multi("a", kms_key="a key"),
    "Variant.download_timeout must be a whole number at least 60 and at most 3600, not 59": lambda: multi(
        "a", download_timeout=59
    ),
    "Variant.startup_timeout must be a whole number at least 60 and at most 3600, not 3601": lambda: multi(
        "a", startup_timeout=3601
    ),
    # around it
    "role must be the ARN of an IAM role, not 'me'": lambda: multi("a", role="me"),
    "subnets: 1 to 16 ids, not 0": lambda: Vpc(subnets=[], security_groups=["sg-1"]),
    "security_groups: 1 to 5 ids, not 6": lambda: Vpc(subnets="subnet-1", security_groups=["sg-1"] * 6),
    "subnets: 'a b' is not an id; ids look like 'subnet-0123abcd'": lambda: Vpc(subnets="a b", security_groups="sg-1"),
    "EndpointSpec.vpc must be of type Vpc, not dict: \"{'subnets': []}\"": lambda: multi("a", vpc={"subnets": []}),
    "tags: 'aws:x' begins with 'aws:'": lambda: multi("a", tags={"aws:x": "1"}),
    "tags: at most 50 tags, not 51": lambda: multi("a", tags={f"k{n}": "" for n in range(51)}),
    "tags: 'a!' is not a tag key (1 to 128 letters, digits, '_.:/=+-@')": lambda: multi("a", tags={"a!": "1"}),
    "network_isolation must be of type bool, not str: 'yes'": lambda: multi("a", network_isolation="yes"),
    "extra: 'UpdateEndpoint' is not one of CreateEndpoint, CreateEndpointConfig, CreateModel": lambda: multi(
        "a", extra={"UpdateEndpoint": {}}
    ),
    # what goes with one hosting mode alone
    "data_capture: not available with multi-model": lambda: multi("a", data_capture=DataCapture(destination=PREFIX)),
    "async_inference: not available with multi-model": lambda: multi(
        "a", async_inference=AsyncInference(output=PREFIX)
    ),
    "serverless: not available with multi-model": lambda: Variant(
        containers=pipeline("MultiModel"), serverless=Serverless()
    ),
    "serverless: not available with serial pipelines": lambda: Variant(
        containers=pipeline("SingleModel", "SingleModel"), serverless=Serverless()
    ),
    "instance_type: not available with serverless": lambda: single("a", serverless=Serverless()),
    "vpc: not available with serverless": lambda: single(
        "a", instance_type=None, serverless=Serverless(), vpc=Vpc(subnets="subnet-1", security_groups="sg-1")
    ),
    "network_isolation: not available with serverless": lambda: single(
        "a", instance_type=None, serverless=Serverless(), network_isolation=True
    ),
    "Serverless.memory_mb must be one of 1024, 2048, 3072, 4096, 5120, 6144, not 1000": lambda: Serverless(
        memory_mb=1000
    ),
    "provisioned_concurrency: 9 is greater than max_concurrency 5": lambda: Serverless(provisioned_concurrency=9),
    "DataCapture.percent must be a whole number at least 0 and at most 100, not 101": lambda: DataCapture(
        destination=PREFIX, percent=101
    ),
    "capture: items must be Input, Output or InputAndOutput, not ('All',)": lambda: DataCapture(
        destination=PREFIX, capture="All"
    ),
    "destination: 'x' is not an S3 address": lambda: DataCapture(destination="x"),
    "success_topic: must be an sns ARN": lambda: AsyncInference(output=PREFIX, success_topic="topic"),
    # variants
    "variants: names must differ, not A, A": lambda: attrs.evolve(
        multi("a"), variants=(attrs.evolve(multi("a").variants[0], name="A"),) * 2
    ),
    "variants: at least one weight must be over 0, or no variant receives traffic": lambda: attrs.evolve(
        multi("a"), variants=(attrs.evolve(multi("a").variants[0], weight=0),)
    ),
    "variants: an endpoint has 1 to 10 variants, not 0": lambda: attrs.evolve(multi("a"), variants=()),
    "Variant.weight must be a finite number at least 0, not nan": lambda: attrs.evolve(
        multi("a").variants[0], weight=float("nan")
    ),
    # scaling
    "autoscaling: min 3 is greater than max 2": lambda: Autoscaling(min=3, max=2),
    "Autoscaling.min must be a whole number at least 0 and at most 10000, not -1": lambda: Autoscaling(min=-1, max=2),
    "autoscaling: only asynchronous endpoints can have min 0": lambda: single(
        "a", autoscaling=Autoscaling(min=0, max=2, target=60)
    ),
    "autoscaling: only asynchronous endpoints can have min": lambda: multi(
        "a",
        instance_count=1,
        autoscaling=Autoscaling(min=1, max=2, schedule=[Schedule(name="x", when="rate(1 day)", min=0)]),
    ),
    "autoscaling: only asynchronous endpoints publish ApproximateBacklogSizePerInstance": lambda: single(
        "a", autoscaling=Autoscaling(min=1, max=2, target=5, metric="backlog")
    ),
    "autoscaling: asynchronous endpoints do not publish InvocationsPerInstance, so that the policy would": lambda: (
        single("a", async_inference=AsyncInference(output=PREFIX), autoscaling=Autoscaling(min=1, max=2, target=60))
    ),
    "autoscaling: asynchronous endpoints do not publish Invocations, so that the policy would never": lambda: single(
        "a",
        async_inference=AsyncInference(output=PREFIX),
        autoscaling=Autoscaling(
            min=1, max=2, target=60, metric={"Namespace": "AWS/SageMaker", "MetricName": "Invocations"}
        ),
    ),
    "autoscaling: cpu has no value without an instance": lambda: single(
        "a", async_inference=AsyncInference(output=PREFIX), autoscaling=Autoscaling(min=0, max=2)
    ),
    "target: required for this": lambda: Autoscaling(min=0, max=2, metric="backlog"),
    "Autoscaling.target must be a finite number over 0, not -1": lambda: Autoscaling(min=1, max=2, target=-1),
    "target: 101 is over 100 percent of cpu": lambda: Autoscaling(min=1, max=2, target=101, metric="cpu"),
    "target: required for this metric": lambda: Autoscaling(min=1, max=2, metric={"MetricName": "x"}),
    "metric: 'ram' is not one of 'invocations', 'cpu', 'gpu', 'backlog'": lambda: Autoscaling(
        min=1, max=2, metric="ram"
    ),
    "instance_count: 2 is outside autoscaling's 3 to 4": lambda: multi("a", autoscaling=Autoscaling(min=3, max=4)),
    "autoscaling: ml.m5.xlarge has no GPU to track": lambda: multi(
        "a", autoscaling=Autoscaling(min=1, max=4, metric="gpu")
    ),
    "when: must be cron(…), rate(…) or at(…), not 'daily'": lambda: Schedule(name="x", when="daily", min=1),
    "schedule: give min, max or both": lambda: Schedule(name="x", when="rate(1 day)"),
    "schedule: min 3 is greater than max 2": lambda: Schedule(name="x", when="rate(1 day)", min=3, max=2),
    "schedule: names must differ, not x, x": lambda: Autoscaling(
        min=1, max=2, schedule=[Schedule(name="x", when="rate(1 day)", min=1)] * 2
    ),
    # deployments
    "canary and step: give only one of them": lambda: BlueGreen(canary=10, step=10),
    "BlueGreen.canary must be a whole number at least 1 and at most 50, not 51": lambda: BlueGreen(canary=51),
    "BlueGreen.step must be a whole number at least 10 and at most 50, not 5": lambda: BlueGreen(step=5),
    "Rolling.batch must be a whole number at least 5 and at most 50, not 4": lambda: Rolling(batch=4),
    "Rolling.wait must be a whole number at least 0 and at most 3600, not 3601": lambda: Rolling(wait=3601),
    "alarms must be at most 10 names of CloudWatch alarms, not ('0', '1', '2', '3',": lambda: Rolling(
        alarms=[str(n) for n in range(11)]
    ),
}


@pytest.mark.parametrize("message", REFUSED)
def test_refusals_name_the_field_and_the_rule(message):
    with pytest.raises(InvalidInputError) as caught:
        REFUSED[message]()
    assert caught.value.message.startswith(message)
    assert caught.value.sent is False


def test_a_prefix_gets_its_slash_so_that_siblings_stay_out():
    assert multi("a", models="s3://ml-models/prod").model_data == "s3://ml-models/prod/"
    assert multi("a", models="s3://ml-models").model_data == "s3://ml-models/"


def test_a_registry_or_a_version_stands_for_its_address():
    class Holder:
        uri = "s3://ml-models/prod/"

    assert multi("a", models=Holder()).model_data == Holder.uri


def test_specs_are_values():
    spec = multi("a", environment={"TOKEN": "hush"}, autoscaling=Autoscaling(min=1, max=4))
    assert spec == pickle.loads(pickle.dumps(spec))
    assert hash(spec) == hash(attrs.evolve(spec))
    assert "hush" not in repr(spec)
    assert "hush" not in repr(spec.to_requests())
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        spec.name = "b"
    given = {"A": "1"}
    kept = multi("a", environment=given)
    given["A"] = "2"
    assert kept.variants[0].containers[0].environment == {"A": "1"}


def test_modes_and_addresses_of_pipelines():
    spec = multi("a", before=[Container(image=IMAGE, model_data="s3://b-b/x.tar.gz")], after=[Container(image=IMAGE)])
    assert (spec.mode, spec.model_data) == ("MultiModel", PREFIX)
    assert len(spec.variants[0].containers) == 3
    assert single("a", artifact=None).model_data is None
    assert single("a").mode == "SingleModel"
    assert spec.role == ROLE


JUNK = [
    None,
    0,
    -1,
    1.5,
    True,
    "",
    "x",
    "s3://b-b/x/",
    b"x",
    [],
    {},
    [1],
    {"a": 1},
    {1: 2},
    float("nan"),
    object(),
    ("A",),
]
SOUND = {
    Container: {"image": IMAGE, "mode": "MultiModel", "model_data": PREFIX},
    Schedule: {"name": "x", "when": "rate(1 day)", "min": 1},
    Autoscaling: {"min": 1, "max": 2},
    Serverless: {},
    Vpc: {"subnets": "subnet-1", "security_groups": "sg-1"},
    DataCapture: {"destination": PREFIX},
    AsyncInference: {"output": PREFIX},
    Variant: {"containers": pipeline("MultiModel"), "instance_type": "ml.m5.large"},
    BlueGreen: {},
    Rolling: {},
    EndpointSpec: {"name": "a", "role": ROLE, "variants": multi("a").variants},
}


@pytest.fixture(scope="module")
def model():
    """SageMaker's and Application Auto Scaling's own models of their requests, as botocore has them."""
    loader = Loader()
    loader.search_paths.append(Loader.BUILTIN_DATA_PATH)
    return {
        name: ServiceModel(loader.load_service_model(name, "service-2"))
        for name in ("sagemaker", "application-autoscaling")
    }


def check_sound(spec: EndpointSpec, field: str, model) -> None:
    """What was taken must come back the same from its document, and botocore must be able to send it."""
    assert EndpointSpec.from_dict(spec.to_dict()) == spec
    for service, operation, params in spec.to_requests().calls:
        name = next(one for one in model[service].operation_names if xform_name(one) == operation)
        report = ParamValidator().validate(params, model[service].operation_model(name).input_shape)
        # These two pass on what botocore does not know yet.
        errors = [one for one in report._errors if one[0] != "unknown field" or field not in ("extra", "explainer")]
        assert not errors, report.generate_report()


def refusal(make) -> tuple[EndpointSpec | None, InvalidInputError | None]:
    """What came of it."""
    try:
        return make(), None
    except InvalidInputError as error:
        return None, error


@pytest.mark.parametrize(
    ("kind", "field"),
    [(kind, field.name) for kind in SOUND for field in attrs.fields(kind)],
    ids=lambda one: getattr(one, "__name__", one),
)
def test_junk_is_refused_as_such_or_makes_requests(kind, field, model):
    def make(junk):
        made = kind(**(SOUND[kind] | {field: junk}))
        return attrs.evolve(multi("a"), variants=(made,)) if kind is Variant else made

    for junk in JUNK:
        made, refused = refusal(lambda junk=junk: make(junk))
        if refused is not None:
            assert field in refused.message
            assert refused.sent is False
            continue
        if isinstance(made, EndpointSpec):
            check_sound(made, field, model)
        assert type(made).__name__ in repr(made)
        assert attrs.evolve(made) == made


@pytest.mark.parametrize(
    "field", ["models", "image", "name", "role", "instance_type", "environment", "before", "variant", "extra", "tags"]
)
def test_junk_in_the_short_form_is_refused_too(field, model):
    words = {"name": "a", "models": PREFIX, "image": IMAGE, "role": ROLE, "instance_type": "ml.m5.large"}
    named = "containers" if field == "before" else field
    refusals = 0
    for junk in JUNK:
        made, refused = refusal(lambda junk=junk: EndpointSpec.multi_model(**(words | {field: junk})))
        if refused is None:
            check_sound(made, field, model)
            continue
        refusals += 1
        assert refused.sent is False
        assert named in refused.message
    assert refusals > len(JUNK) / 2
