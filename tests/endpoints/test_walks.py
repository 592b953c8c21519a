"""Random walks over every verb, with trouble on the way: nothing is ever orphaned, and the last word holds."""

from __future__ import annotations

import random

import pytest

from mme_sdk.endpoints import Autoscaling, Endpoints
from mme_sdk.errors import MMEError
from mme_sdk.local import Fault

from .helpers import NOTHING, NoInvoker, multi, resources, single

TROUBLE = [
    {"kind": "throttle"},
    {"kind": "error"},
    {"kind": "drop_before"},
    {"kind": "drop_after"},
    {"kind": "error", "code": "AccessDeniedException", "status": 400, "message": "not now"},
    {"kind": "error", "code": "ResourceLimitExceeded", "status": 400, "message": "the limit is 0"},
]
MAKING = ("CreateModel", "CreateEndpointConfig", "CreateEndpoint", "UpdateEndpoint", "RegisterScalableTarget")


def specs(name):
    return [
        multi(name),
        multi(name, environment={"A": "1"}),
        multi(name, instance_type="ml.c5.xlarge", autoscaling=Autoscaling(min=1, max=9)),
        single(name),
        multi(name, image="broken:1"),
    ]


def walk(plane, aws, name, seed, steps):
    dice = random.Random(seed)
    room = Endpoints(aws, NoInvoker())
    known = specs(name)
    said = []
    for _ in range(steps):
        plane.faults.clear()
        if dice.random() < 0.4:
            fault = {**dice.choice(TROUBLE), "operation": dice.choice(MAKING), "times": dice.choice([1, 2, 9])}
            plane.faults.add(Fault(**fault))
            said.append(fault)
        spec, verb = (
            dice.choice(known),
            dice.choice(["create", "apply", "apply", "apply", "rollback", "scale", "delete"]),
        )
        said.append((verb, known.index(spec)))
        wanted = trouble = None
        try:
            match verb:
                case "create":
                    room.create(spec).wait(20)
                    wanted = spec
                case "apply":
                    room.apply(spec, timeout=20)
                    wanted = spec
                case "rollback":
                    room.handle(name).rollback(timeout=20)
                case "scale":
                    room.handle(name).scale(dice.randint(1, 9), timeout=20)
                case "delete":
                    room.delete(name, timeout=20)
        except MMEError as error:
            said.append(error)
            trouble = error
        plane.faults.clear()
        assert getattr(trouble, "__notes__", []) == [], said
        assert room.orphans() == [], said
        left = resources(aws)
        assert len(left["configs"]) <= 2, said
        assert all(room.describe(one).status == "InService" for one in left["endpoints"]), said
        if wanted is not None:
            changes = [
                one for one in room.plan(wanted).changes if ".autoscaling" not in one.field and one.how == "new fleet"
            ]
            assert changes == [], said
            assert wanted is not known[-1], said
    room.delete(name, timeout=20)
    assert resources(aws) == NOTHING, said
    return said


@pytest.mark.parametrize("seed", range(4))
def test_a_short_walk(plane, aws, name, seed):
    assert any(isinstance(one, MMEError) for one in walk(plane, aws, name, seed, 12))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 140))
def test_a_long_walk(plane, aws, name, seed):
    walk(plane, aws, name, seed, 40)
