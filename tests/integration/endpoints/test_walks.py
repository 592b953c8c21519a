"""Random walks over every verb, with trouble on the way, beside a model of what must be there after each step."""

from __future__ import annotations

import random
from collections.abc import Iterator

import attrs
import pytest

from mme_sdk.aws import Aws
from mme_sdk.endpoints import Autoscaling, Endpoints, EndpointSpec
from mme_sdk.errors import ConflictError, EndpointFailedError, EndpointNotFoundError, MMEError
from mme_sdk.local import Fault
from tests.support.endpoints.helpers import NoInvoker, multi, resources, single

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


@attrs.frozen
class World:
    """What is there.

    Attributes:
        serving: What serves; None for nothing.
        before: What it replaced, which a rollback leads to.
    """

    serving: EndpointSpec | None = None
    before: EndpointSpec | None = None

    def resources(self, name: str) -> dict[str, list[str]]:
        kept = [one.to_requests() for one in (self.serving, self.before) if one is not None]
        return {
            "endpoints": [name] if self.serving else [],
            "serving": [self.serving.to_requests().config_name] if self.serving else [],
            "configs": sorted({one.config_name for one in kept}),
            "models": sorted({model for one in kept for model in one.model_names}),
        }

    def applied(self, spec: EndpointSpec) -> World:
        if self.serving is None:
            return World(spec)
        same = spec.to_requests().config_name == self.serving.to_requests().config_name
        return World(spec, self.before if same else self.serving)

    def after(self, verb: str, spec: EndpointSpec) -> World:
        """Where a verb leads that succeeds."""
        match verb:
            case "create" | "apply":
                return self.applied(spec)
            case "rollback":
                return World(self.before, self.serving)
            case "delete":
                return World()
        return self

    def refuses(self, verb: str, spec: EndpointSpec) -> type[MMEError] | None:
        """The error of a verb that cannot succeed, whatever else happens."""
        if verb in ("rollback", "scale") and self.serving is None:
            return EndpointNotFoundError
        if verb == "rollback" and self.before is None:
            return ConflictError
        if verb == "create" and self.serving is not None:
            same = self.serving.to_requests().config_name == spec.to_requests().config_name
            return None if same else ConflictError
        if verb in ("create", "apply") and "broken" in spec.variants[0].containers[0].image:
            return EndpointFailedError
        return None


def possible(world: World, verb: str, spec: EndpointSpec, error: MMEError | None) -> Iterator[World]:
    """The worlds that a step may have led to."""
    if error is None:
        yield world.after(verb, spec)
        return
    yield world
    # An update that is through may still fail at its autoscaling; nothing else may fail half-way.
    if verb in ("apply", "rollback") and error.message.startswith("register_scalable_target"):
        yield world.after(verb, spec)


def found(collection: Endpoints, aws: Aws) -> dict[str, list[str]]:
    """What is there in fact."""
    there = {kind: sorted(names) for kind, names in resources(aws).items()}
    return there | {"serving": [collection.describe(one).config_name or "" for one in there["endpoints"]]}


def step(collection: Endpoints, name: str, verb: str, spec: EndpointSpec, count: int) -> None:
    match verb:
        case "create":
            collection.create(spec, timeout=60)
        case "apply":
            collection.apply(spec, timeout=60)
        case "rollback":
            collection.handle(name).rollback(timeout=60)
        case "scale":
            collection.handle(name).scale(count, timeout=60)
        case "delete":
            collection.delete(name, timeout=60)


def walk(plane, aws, name, seed, steps):
    dice = random.Random(seed)
    collection = Endpoints(aws, NoInvoker)
    known = specs(name)
    world = World()
    said = []
    for _ in range(steps):
        plane.faults.clear()
        fault = None
        if dice.random() < 0.4:
            fault = {**dice.choice(TROUBLE), "operation": dice.choice(MAKING), "times": dice.choice([1, 2, 9])}
            plane.faults.add(Fault(**fault))
        spec = dice.choice(known)
        verb = dice.choice(["create", "apply", "apply", "apply", "rollback", "scale", "delete"])
        count = dice.randint(1, 9)
        error: MMEError | None = None
        try:
            step(collection, name, verb, spec, count)
        except MMEError as caught:
            error = caught
        plane.faults.clear()
        said.append((fault, verb, known.index(spec), count, error))
        refusal = world.refuses(verb, spec)
        if refusal is not None:
            assert error is not None, said
            assert fault or isinstance(error, refusal), said
        elif fault is None and verb != "scale":
            assert error is None, said
        # Only autoscaling may be left for the next apply, and then the error says so.
        notes = [
            one
            for one in getattr(error, "__notes__", [])
            if not one.startswith("autoscaling of AllTraffic is detached")
        ]
        assert notes == [], said
        there = found(collection, aws)
        matching = [one for one in possible(world, verb, spec, error) if one.resources(name) == there]
        assert matching, (there, said)
        world = matching[0]
        assert collection.orphans() == [], said
        if world.serving is not None:
            live = collection.describe(name)
            assert live.status == "InService", said
            if verb == "scale" and error is None:
                assert live.variants[0].desired_count == count, said
            if verb == "apply" and error is None:
                assert collection.plan(spec).action == "nothing", said
    collection.delete(name, timeout=60)
    assert found(collection, aws) == World().resources(name), said
    return said


@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (2, 3))])
def test_a_short_walk(plane, aws, name, seed):
    assert any(isinstance(error, MMEError) for *_, error in walk(plane, aws, name, seed, 12))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 140))
def test_a_long_walk(plane, aws, name, seed):
    walk(plane, aws, name, seed, 40)
