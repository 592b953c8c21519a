"""Every spec there can be, for hypothesis."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from mme_sdk.endpoints import (
    AsyncInference,
    Autoscaling,
    Container,
    DataCapture,
    EndpointSpec,
    FromZero,
    InstancePool,
    MetricsSettings,
    Schedule,
    Serverless,
    Tracking,
    Variant,
    Vpc,
)
from tests.support.endpoints.helpers import ROLE

NAMES = st.from_regex(r"[a-zA-Z0-9](-?[a-zA-Z0-9]){0,30}", fullmatch=True)
TEXT = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1, max_size=20)
PREFIXES = st.from_regex(r"s3://[a-z0-9][a-z0-9-]{1,20}[a-z0-9]/[a-z0-9]{0,9}/", fullmatch=True)
ARCHIVES = PREFIXES.map(lambda prefix: f"{prefix}model.tar.gz")
IMAGES = st.from_regex(r"[0-9]{12}\.dkr\.ecr\.eu-west-1\.amazonaws\.com/[a-z]{1,9}:[a-z0-9]{1,5}", fullmatch=True)
TAGS = st.dictionaries(
    st.from_regex(r"[b-zB-Z0-9_.:/=+\-@]{1,20}", fullmatch=True), TEXT.filter(str.isalnum), max_size=3
)
KEYS = st.from_regex(r"[a-zA-Z_][a-zA-Z0-9_]{0,9}", fullmatch=True)
KMS = st.sampled_from(["1234abcd-12ab-34cd-56ef-1234567890ab", "alias/mine"])
CPU = st.sampled_from(["ml.m5.large", "ml.m5.xlarge", "ml.c6i.4xlarge", "ml.t2.medium", "ml.r6g.2xlarge"])
GPU = st.sampled_from(["ml.g4dn.xlarge", "ml.g5.2xlarge", "ml.p3.2xlarge"])
CREDENTIALS = "arn:aws:lambda:eu-west-1:123456789012:function:credentials"
RESERVATION = "arn:aws:sagemaker:eu-west-1:123456789012:training-plan/mine"
SECONDS = st.none() | st.integers(60, 3600)


@st.composite
def schedules(draw: Any) -> tuple[Schedule, ...]:
    names = draw(st.lists(NAMES, max_size=2, unique=True))
    return tuple(
        Schedule(
            name=name,
            when=draw(st.sampled_from(["cron(0 8 ? * MON-FRI *)", "rate(1 day)", "at(2030-01-01T00:00:00)"])),
            min=draw(st.integers(1, 3)),
            max=draw(st.integers(3, 9)),
            timezone=draw(st.none() | st.just("Europe/Berlin")),
        )
        for name in names
    )


@st.composite
def scalings(draw: Any, count: int, *, asynchronous: bool = False) -> Autoscaling:
    custom = {"MetricName": "Mine", "Namespace": "Mine", "Statistic": "Average"}
    metrics: Any = ["backlog" if asynchronous else "invocations", "cpu", custom]
    metric, *others = draw(st.permutations(metrics))
    from_zero = draw(st.none() | st.builds(FromZero, instances=st.just(1), minutes=st.integers(1, 5)))
    zero = asynchronous and from_zero is not None
    tracking = [Tracking(metric=one, target=draw(st.integers(1, 100))) for one in others]
    return Autoscaling(
        more=tracking[: draw(st.integers(0, 2))],
        from_zero=from_zero if zero else None,
        min=0 if zero else draw(st.integers(1, count)),
        max=draw(st.integers(count, 50)),
        target=draw(st.integers(1, 100)),
        metric=metric,
        scale_in_cooldown=draw(st.integers(0, 900)),
        scale_out_cooldown=draw(st.integers(0, 900)),
        scale_in=draw(st.booleans()),
        schedule=draw(schedules()),
    )


@st.composite
def containers(draw: Any, mode: str, hostname: str | None = None) -> Container:
    multi = mode == "MultiModel"
    compressed = multi or draw(st.booleans())
    registry = draw(st.booleans())
    return Container(
        image=draw(IMAGES),
        mode=mode,  # type: ignore[arg-type]
        model_data=draw(PREFIXES if multi or not compressed else st.none() | ARCHIVES),
        compressed=compressed,
        vpc_registry=registry,
        registry_credentials=draw(st.none() | st.just(CREDENTIALS)) if registry else None,
        environment=draw(st.dictionaries(KEYS, TEXT, max_size=3)),
        hostname=hostname,
        model_cache=draw(st.booleans()) if multi else True,
    )


@st.composite
def variants(draw: Any, name: str, mode: str, *, asynchronous: bool = False) -> Variant:
    hosts = draw(st.lists(NAMES, max_size=2, unique=True))
    pipeline = [draw(containers("SingleModel", host)) for host in hosts]
    host = "the-main-one" if pipeline else None  # all containers of a pipeline have a hostname, or none has
    pipeline.insert(draw(st.integers(0, len(pipeline))), draw(containers(mode, host)))
    kind = draw(CPU | GPU)
    count = draw(st.integers(1, 20))
    plain = not kind.startswith("ml.g")
    scaling = draw(st.none() | scalings(count, asynchronous=asynchronous))
    pools: tuple[InstancePool, ...] = ()
    if scaling is None and plain and draw(st.booleans()):
        pools = (InstancePool(instance_type=kind, priority=1), InstancePool(instance_type="ml.c5.large", priority=2))
    return Variant(
        name=name,
        containers=tuple(pipeline),
        instance_type=None if pools else kind,
        instance_pools=pools,
        instance_count=count,
        weight=draw(st.floats(0.5, 100)),
        autoscaling=scaling,
        routing=draw(st.none() | st.sampled_from(["LEAST_OUTSTANDING_REQUESTS", "KV_AWARE"])),
        ami_version=draw(st.none() | st.just("al2-ami-sagemaker-inference-gpu-2")),
        capacity_reservation=draw(st.none() | st.just(RESERVATION)),
        volume_gb=draw(st.none() | st.integers(1, 512)) if plain else None,
        download_timeout=draw(SECONDS),
        startup_timeout=draw(SECONDS),
        extra=draw(st.just({}) | st.just({"EnableSSMAccess": True})),
    )


@st.composite
def specs(draw: Any) -> EndpointSpec:
    kind = draw(st.sampled_from(["multi", "single", "serverless", "async"]))
    shared: dict[str, Any] = {"name": draw(NAMES), "role": ROLE, "tags": draw(TAGS)}
    if kind == "serverless":
        most = draw(st.integers(1, 200))
        settings = Serverless(
            memory_mb=draw(st.sampled_from([1024, 6144])),
            max_concurrency=most,
            provisioned_concurrency=draw(st.none() | st.integers(1, most)),
        )
        only = Variant(name=draw(NAMES), containers=(draw(containers("SingleModel")),), serverless=settings)
        return EndpointSpec(variants=(only,), **shared)
    mode = "MultiModel" if kind == "multi" else "SingleModel"
    names = draw(st.lists(NAMES, min_size=1, max_size=1 if kind == "async" else 3, unique=True))
    parts = tuple(draw(variants(name, mode, asynchronous=kind == "async")) for name in names)
    local = any(str(one.instance_type).startswith("ml.g") for one in parts)
    capture = async_inference = explainer = None
    if kind == "single":
        capture = draw(
            st.none()
            | st.builds(
                DataCapture,
                destination=PREFIXES,
                percent=st.integers(0, 100),
                capture=st.sampled_from([("Input",), ("Input", "Output")]),
                kms_key=st.none() | KMS,
                csv_types=st.sampled_from([(), ("text/csv",)]),
                json_types=st.sampled_from([(), ("application/json",)]),
            )
        )
        explainer = draw(st.none() | st.just({"ClarifyExplainerConfig": {"ShapConfig": {"ShapBaselineConfig": {}}}}))
    if kind == "async":
        topic = st.none() | st.just("arn:aws:sns:eu-west-1:123456789012:topic")
        async_inference = draw(
            st.builds(
                AsyncInference,
                output=PREFIXES,
                failure=st.none() | PREFIXES,
                max_concurrent=st.none() | st.integers(1, 1000),
                success_topic=topic,
                error_topic=topic,
                kms_key=st.none() | KMS,
            )
        )
    return EndpointSpec(
        metrics=draw(
            st.none() | st.builds(MetricsSettings, enhanced=st.booleans(), frequency=st.sampled_from([10, 60, 300]))
        ),
        variants=parts,
        network_isolation=draw(st.booleans()),
        vpc=draw(st.none() | st.just(Vpc(subnets=("subnet-1", "subnet-2"), security_groups="sg-1"))),
        kms_key=None if local else draw(st.none() | KMS),
        data_capture=capture,
        async_inference=async_inference,
        explainer=explainer,
        extra=draw(st.just({}) | st.just({"CreateEndpointConfig": {"ExecutionRoleArn": ROLE}})),
        **shared,
    )
