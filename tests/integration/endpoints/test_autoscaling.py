"""Autoscaling, over both shells and the embedded Application Auto Scaling."""

from __future__ import annotations

import pytest

from mme_sdk.endpoints import Autoscaling, Schedule
from mme_sdk.errors import EndpointFailedError, InvalidInputError
from tests.support.endpoints.helpers import multi


def test_autoscaling_is_attached_seen_changed_and_taken_off(collection, name):
    night = Schedule(name="night", when="cron(0 22 * * ? *)", min=1, max=2, timezone="Europe/Berlin")
    spec = multi(name, autoscaling=Autoscaling(min=2, max=8, target=600, schedule=(night,)))
    handle = collection.create(spec, timeout=60)
    attached = handle.describe().variants[0].autoscaling
    assert (attached.min, attached.max, len(attached.policies), len(attached.schedule)) == (2, 8, 1, 1)
    assert collection.from_endpoint(name) == spec
    assert collection.plan(spec).action == "nothing"

    changed = multi(name, autoscaling=Autoscaling(min=1, max=4), instance_count=2)
    assert [str(one) for one in collection.plan(changed).changes][:2] == [
        "variants.AllTraffic.autoscaling.min: 2 → 1 (in place)",
        "variants.AllTraffic.autoscaling.max: 8 → 4 (in place)",
    ]
    collection.apply(changed, timeout=60)
    attached = collection.describe(name).variants[0].autoscaling
    assert (attached.min, attached.max, len(attached.policies), len(attached.schedule)) == (1, 4, 1, 0)
    with pytest.raises(InvalidInputError, match="between 1 and 4, not 5"):
        handle.scale(5)
    assert handle.autoscale(None).describe().variants[0].autoscaling is None


def test_an_instance_type_change_works_while_autoscaling_is_attached(collection, name):
    handle = collection.apply(multi(name, autoscaling=Autoscaling(min=2, max=8, target=600)), timeout=60)
    handle.scale(5, timeout=60)
    handle.update(multi(name, instance_type="ml.c5.2xlarge"), timeout=60)
    variant = handle.describe().variants[0]
    assert (variant.instance_type, variant.desired_count) == ("ml.c5.2xlarge", 5)
    assert (variant.autoscaling.min, variant.autoscaling.max) == (2, 8)
    with pytest.raises(EndpointFailedError, match="rolled back"):
        handle.update(multi(name, instance_type="ml.m5.large", image="broken:4"), timeout=60)
    variant = handle.describe().variants[0]
    assert (variant.instance_type, variant.desired_count, variant.autoscaling.max) == ("ml.c5.2xlarge", 5, 8)


def test_delete_takes_autoscaling_along(collection, aws, name):
    handle = collection.apply(multi(name, autoscaling=Autoscaling(min=2, max=8)), timeout=60)
    assert handle.delete(timeout=60).detached == ("AllTraffic",)
    targets = aws.client("application-autoscaling").describe_scalable_targets(ServiceNamespace="sagemaker")
    assert targets["ScalableTargets"] == []
