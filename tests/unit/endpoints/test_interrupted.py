"""An operation on an endpoint that is interrupted at any effect leaves nothing that its exception does not name."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from mme_sdk.autopilot import publishing
from mme_sdk.autopilot.decision import Bounds
from mme_sdk.aws import Call, Do, Flow
from mme_sdk.endpoints import Autoscaling, flows
from tests.support.endpoints import fake
from tests.support.endpoints.fake import InMemory
from tests.support.endpoints.helpers import multi
from tests.support.interruption import Interruption, interruptions, notes_of

WAIT: dict[str, Any] = {"timeout": 60, "now": lambda: 0.0, "progress": False}
FIRST = multi("scoring", autoscaling=Autoscaling(min=2, max=4, metric="cpu", target=50))
SECOND = multi("scoring", instance_type="ml.c5.4xlarge", autoscaling=Autoscaling(min=2, max=4, metric="cpu", target=50))
OTHER = Autoscaling(min=1, max=5, metric="cpu", target=40)


def create() -> Flow[Any]:
    return flows.create(FIRST, wait=True, **WAIT)


def update() -> Flow[Any]:
    return flows.apply(SECOND, deployment=None, **WAIT)


def delete() -> Flow[Any]:
    return flows.delete("scoring", dry_run=False, **WAIT)


def attach() -> Flow[Any]:
    return publishing.attach("scoring", "AllTraffic", Bounds(smallest=2, largest=4))


def detach() -> Flow[Any]:
    return publishing.detach("scoring", "AllTraffic")


CASES: dict[str, tuple[list[Callable[[], Flow[Any]]], Callable[[], Flow[Any]], Callable[[], Flow[Any]]]] = {
    # What runs before, the operation, and what completes it after an interruption.
    "create": ([], create, create),
    "temporary": ([], lambda: flows.create_temporary(FIRST, **WAIT), create),
    "apply": ([create], update, update),
    "rollback": (
        [create, update],
        lambda: flows.rollback("scoring", to=None, deployment=None, **WAIT),
        lambda: flows.apply(FIRST, deployment=None, **WAIT),
    ),
    "autoscale": ([create], *[lambda: flows.autoscale("scoring", OTHER, variant=None)] * 2),
    "delete": ([create], delete, delete),
    "attach the autopilot": ([create], attach, attach),
    "detach the autopilot": ([create, attach], detach, detach),
}

# Notes that concern the endpoint with all that belongs to it.
WHOLE = ("is not complete", "the change itself continues", "delete() again", "left behind: endpoint scoring")


PARTS = ("there", "tags", "scaling", "alarms", "_now")


class Scene:
    """The control plane after some operations. It can be set back to that state."""

    def __init__(self, *before: Callable[[], Flow[Any]]) -> None:
        self.aws = InMemory()
        for make in before:
            Interruption(0, done=False).drive(make(), self.perform)
        self.saved = copy.deepcopy({part: getattr(self.aws, part) for part in PARTS})

    def reset(self) -> None:
        for part, value in copy.deepcopy(self.saved).items():
            setattr(self.aws, part, value)

    def perform(self, effect: Any) -> Any:
        return (
            self.aws.send(effect) if isinstance(effect, Call) else effect.function() if isinstance(effect, Do) else None
        )


def config_of(aws: InMemory) -> str | None:
    endpoint = aws.there["endpoint"].get("scoring")
    return None if endpoint is None else endpoint["EndpointConfigName"]


def scaling_of(aws: InMemory) -> Any:
    """Limits and policies by variant; the alarms; and the tags of the endpoint with what is not attached."""
    attached = {
        variant: (
            one["target"]["MinCapacity"],
            {name: policy.get("TargetTrackingScalingPolicyConfiguration") for name, policy in one["policies"].items()},
        )
        for variant, one in aws.scaling.items()
    }
    tags = [key for arn, own in aws.tags.items() if ":endpoint/" in arn for key in own if key.startswith("mme_sdk:")]
    return attached, list(aws.alarms), tags


def names(aws: InMemory) -> set[str]:
    return {*aws.there["model"], *aws.there["endpoint_config"], *aws.there["endpoint"]}


@pytest.mark.parametrize("case", CASES)
def test_what_an_interruption_leaves_is_named_and_can_be_completed(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fake, "problems", lambda *_: None)  # other tests check the requests; it takes most of the time
    before, operation, completion = CASES[case]
    old, new, whole = (Scene(*before, *more).aws for more in ((), (operation,), (operation, completion)))
    scene = Scene(*before)
    aws = scene.aws

    def run(stop: Interruption) -> None:
        scene.reset()
        stop.drive(operation(), scene.perform)

    for stop, error in interruptions(run):
        notes = notes_of(error)
        if not any(hint in notes for hint in WHOLE):
            unfinished = names(aws) not in (names(old), names(new))
            assert [one for one in names(aws) - names(old) if unfinished and one not in notes] == [], (stop, notes)
            states = [scaling_of(one) for one in (old, new) if config_of(one) == config_of(aws)]
            assert scaling_of(aws) in states or "autoscaling" in notes, (stop, notes)
        Interruption(0, done=False).drive(completion(), scene.perform)
        assert (names(aws), scaling_of(aws)) == (names(whole), scaling_of(whole)), (stop, notes)
