"""Cold starts: what callers wait, how often they knock, and how many loads they cause, for four policies.

    python benchmarks/cold_start.py                    # everything, in about two minutes
    python benchmarks/cold_start.py --only embedded    # against an embedded SageMaker over HTTP, with the real boto3

Rivals in simulated time are the rules of botocore 1.44 as counted against a loopback server (`legacy`: five attempts;
`standard`: three, and one at ModelNotReadyException) and full jitter of 1 to 20 s, as of tenacity's
`wait_random_exponential`, until the deadline. Ours is the code of `mme_sdk.runtime` itself.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import attrs

sys.path.insert(0, str(Path(__file__).parent))
from simulated_endpoint import MB, AnyWhileCold, Outcome, SharedLeases, SimulatedEndpoint, Simulation, Times, call

from mme_sdk._effects import Flow, Sleep
from mme_sdk.config import ColdStart, RetryPolicy, Timeouts
from mme_sdk.errors import ModelNotReadyError, OutcomeUnknownError
from mme_sdk.fleet import FleetPolicy, Sticky
from mme_sdk.runtime.cold_start.memory import Memory
from mme_sdk.runtime.effects import Send
from mme_sdk.runtime.retry.answers import error_fields
from mme_sdk.runtime.retry.attempts import Attempts, Settings
from mme_sdk.runtime.transport_interface import InvokeRequest

DEADLINE = 360.0
LEARNING, COUNTED = 2, 10  # herds that clients learn from, and herds that are counted then
Policy = Callable[[Simulation, InvokeRequest, Any, random.Random], Flow[Any]]


def _botocore(attempts: int, cold_attempts: int) -> Policy:
    def steps(_: Simulation, request: InvokeRequest, __: Settings, rng: random.Random) -> Flow[Any]:
        for number in range(attempts):
            try:
                answer = yield Send(request, 60.0, 60.0)
                if answer.status == 200:
                    return
                failed: Exception = ModelNotReadyError(error_fields(answer).message)
                if number + 1 >= cold_attempts:
                    raise failed
            except OutcomeUnknownError as error:
                failed = error
            if number + 1 < attempts:
                yield Sleep(min(20.0, rng.random() * 2**number))
        raise failed

    return steps


def _full_jitter(simulation: Simulation, request: InvokeRequest, _: Settings, rng: random.Random) -> Flow[Any]:
    ends = simulation.now + DEADLINE
    number = 0
    while True:
        try:
            answer = yield Send(request, 60.0, min(60.0, ends - simulation.now))
            if answer.status == 200:
                return
        except OutcomeUnknownError:
            pass
        wait = rng.uniform(0.0, min(20.0, 2.0**number))
        number += 1
        if simulation.now + wait >= ends:
            raise ModelNotReadyError("deadline")
        yield Sleep(wait)


def _ours(simulation: Simulation, request: InvokeRequest, process: Settings, _: random.Random) -> Flow[Any]:
    return Attempts(process, request, began=simulation.now, deadline=DEADLINE).run()


@attrs.frozen
class Rival:
    """A policy, and what its clients bring with them."""

    name: str
    policy: Policy
    learned: bool = False
    leases: bool = False


RIVALS = [
    Rival("boto3 standard", _botocore(3, 1)),
    Rival("boto3 legacy", _botocore(5, 5)),
    Rival("full jitter", _full_jitter),
    Rival("ours, first sight", _ours),
    Rival("ours, learned", _ours, learned=True),
    Rival("ours, learned, shared leases", _ours, learned=True, leases=True),
]


def processes(
    count: int, simulation: Simulation, seed: int, rival: Rival, cold: ColdStart | None = None
) -> list[Settings]:
    leases = SharedLeases(simulation) if rival.leases else None
    return [
        Settings(
            timeouts=Timeouts(),
            retry=RetryPolicy(),
            clock=simulation,
            rng=random.Random(seed * 1000 + number),
            memory=Memory(cold or ColdStart(), leases=leases),
        )
        for number in range(count)
    ]


@attrs.frozen(kw_only=True)
class Herd:
    """Many callers of one cold model."""

    load: float
    instances: int
    processes: int
    hold: float = 59.9
    any_while_cold: bool = False
    callers: int = 20
    within: float = 5.0
    spread: float = 0.0
    """Log-deviation of the load time, from herd to herd."""


@attrs.define
class Seen:
    """What many herds met."""

    firsts: list[float] = attrs.Factory(list)
    late: list[float] = attrs.Factory(list)
    attempts: list[int] = attrs.Factory(list)
    extra: list[int] = attrs.Factory(list)
    took: list[float] = attrs.Factory(list)
    calls: int = 0

    def row(self, name: str) -> list[str]:
        return [
            name,
            f"{statistics.median(self.firsts):.2f}" if self.firsts else "-",
            f"{statistics.median(self.late):.2f}" if self.late else "-",
            f"{statistics.mean(self.attempts):.2f}",
            f"{statistics.mean(self.extra):.2f}",
            f"{len(self.took) / self.calls:.0%}",
            f"{sorted(self.took)[int(len(self.took) * 0.99)]:.1f}" if self.took else "-",
        ]


def run_herd(herd: Herd, rival: Rival, seed: int, seen: Seen) -> None:
    """One herd after another meets a fresh fleet, as after an update of the endpoint; the clients remember."""
    rng = random.Random(seed)
    simulation = Simulation()
    clients = processes(herd.processes, simulation, seed, rival)
    request = InvokeRequest(endpoint="scoring", body=b"{}", target_model="fraud/v1.tar.gz")
    for number in range(LEARNING + COUNTED if rival.learned else 1):
        policy = FleetPolicy(
            memory_bytes=10_000 * MB,
            volume_bytes=100_000 * MB,
            spill_outstanding=2,
            routing=AnyWhileCold() if herd.any_while_cold else Sticky(),
        )
        load = herd.load * rng.lognormvariate(0.0, herd.spread) if herd.spread else herd.load
        times = Times(download=load / 2, load=load / 2, hold=herd.hold)
        endpoint = SimulatedEndpoint(simulation, policy, herd.instances, times, rng)
        outcomes: list[Outcome] = []

        def come(caller: int, to: SimulatedEndpoint = endpoint, into: list[Outcome] = outcomes) -> None:
            steps = rival.policy(simulation, request, clients[caller % herd.processes], rng)
            into.append(call(simulation, to, steps))

        began = simulation.now
        for caller in range(herd.callers):
            simulation.after(rng.uniform(0.0, herd.within) if caller else 0.0, partial(come, caller))
        simulation.run(began + 4000.0)
        if rival.learned and number < LEARNING:
            continue
        good = [one for one in outcomes if one.error is None and one.ended - one.began <= DEADLINE]
        seen.calls += len(outcomes)
        seen.attempts += [one.attempts for one in outcomes]
        seen.extra.append(endpoint.loads - 1)
        seen.took += [one.ended - one.began for one in good]
        # From when the model was there, or the caller came, whatever was later.
        seen.late += [one.ended - max(one.began, began + load) for one in good]
        if good:
            seen.firsts.append((min(one.ended for one in good) - began) / load)


def herd_row(herd: Herd, rival: Rival, rounds: int) -> list[str]:
    seen = Seen()
    for seed in range(max(1, rounds // COUNTED) if rival.learned else rounds):
        run_herd(herd, rival, seed, seen)
    return seen.row(rival.name)


HEADS = ["policy", "first success / load", "median s late", "attempts per caller", "extra loads", "success", "p99 s"]


def herds(rounds: int, *, fast_answers: bool) -> None:
    for load in (2.0, 20.0, 90.0, 300.0):
        for instances in (1, 4):
            for count in (1, 4, 16):
                herd = Herd(
                    load=load,
                    instances=instances,
                    processes=count,
                    hold=0.02 if fast_answers else 59.9,
                    any_while_cold=fast_answers,
                )
                print(f"\n### load {load:g} s, {instances} instances, {count} client processes\n")
                rows = []
                for rival in RIVALS:
                    if rival.leases and count == 1:
                        continue
                    rows.append(herd_row(herd, rival, rounds))
                table(HEADS, rows)


@attrs.frozen(kw_only=True)
class Collapse:
    """A fleet that starts cold under more models than it holds."""

    minutes: int = 30
    rate: float = 14.0
    models: int = 400
    held: int = 50
    instances: int = 4
    loaders: int = 2
    load: float = 2.5
    spill: int = 2
    hold: float = 59.9
    zipf: float = 0.9
    any_while_cold: bool = False


def collapse(case: Collapse, rival: Rival, count: int, seed: int = 1) -> list[str]:
    """Success, median and 95th percentile of seconds, and loads per call in the last third."""
    rng = random.Random(seed)
    simulation = Simulation()
    policy = FleetPolicy(
        memory_bytes=case.held * 100 * MB,
        volume_bytes=1_000_000 * MB,
        loader_slots=case.loaders,
        spill_outstanding=case.spill,
        routing=AnyWhileCold() if case.any_while_cold else Sticky(),
    )
    times = Times(download=0.0001, load=case.load, hold=case.hold)
    endpoint = SimulatedEndpoint(simulation, policy, case.instances, times, rng)
    clients = processes(count, simulation, seed, rival)
    weights = [1 / (rank + 1) ** case.zipf for rank in range(case.models)]
    names = [f"m-{number}" for number in range(case.models)]
    outcomes: list[Outcome] = []
    seconds = case.minutes * 60.0

    def arrive() -> None:
        request = InvokeRequest(endpoint="scoring", body=b"{}", target_model=rng.choices(names, weights)[0])
        steps = rival.policy(simulation, request, clients[rng.randrange(count)], rng)
        outcomes.append(call(simulation, endpoint, steps))
        if simulation.now < seconds:
            simulation.after(rng.expovariate(case.rate), arrive)

    simulation.after(0.0, arrive)
    simulation.run(seconds * 2 / 3)
    before = endpoint.loads
    simulation.run(seconds + DEADLINE + 100)
    last = [outcome for outcome in outcomes if outcome.began >= seconds * 2 / 3]
    good = [outcome for outcome in last if outcome.error is None and outcome.ended - outcome.began <= DEADLINE]
    took = sorted(outcome.ended - outcome.began for outcome in last)
    return [
        f"{len(good) / len(last):.0%}",
        f"{took[len(took) // 2]:.2f}",
        f"{took[int(len(took) * 0.95)]:.1f}",
        f"{(endpoint.loads - before) / len(last):.2f}",
    ]


def collapses(case: Collapse) -> None:
    ours = RIVALS[3]
    shared = attrs.evolve(ours, name="ours, shared leases", leases=True)
    lines = [(RIVALS[0], 1), (RIVALS[1], 1), (RIVALS[2], 1), (ours, 1), (ours, 4), (ours, 8), (shared, 8)]
    rows = [[rival.name, str(count), *collapse(case, rival, count)] for rival, count in lines]
    table(["policy", "processes", "success", "p50 s", "p95 s", "loads per call"], rows)


def table(heads: list[str], rows: list[list[str]]) -> None:
    print("| " + " | ".join(heads) + " |")
    print("|" + "|".join(" --- " for _ in heads) + "|")
    for row in rows:
        print("| " + " | ".join(row) + " |")


CODE = """
import json, os, time

def model_fn(directory):
    facts = json.load(open(os.path.join(directory, "facts.json")))
    with open(facts["log"], "a") as log:
        log.write(facts["name"] + "\\n")
    time.sleep(facts["load"])
    return facts

def input_fn(body, content_type):
    return json.loads(body)

def predict_fn(data, model):
    return data

def output_fn(prediction, accept):
    return json.dumps(prediction), "application/json"
"""


def embedded(load: float, callers: int) -> None:
    """The same against an embedded SageMaker over HTTP, with the real boto3 and real threads."""
    import tempfile
    import time

    import boto3
    import tenacity
    from botocore.config import Config
    from botocore.exceptions import ClientError

    from mme_sdk import EndpointSpec
    from mme_sdk.local import LocalSageMaker
    from mme_sdk.local.hosting.settings import HostingSettings

    image, role = "123456789012.dkr.ecr.us-east-1.amazonaws.com/python:1", "arn:aws:iam::123456789012:role/r"
    settings = HostingSettings(answer_limit=0.5, spill_outstanding=2)
    with tempfile.TemporaryDirectory() as folder, LocalSageMaker(settings=settings) as host, host.client() as client:
        log = Path(folder) / "loads.log"
        host.boto("s3").create_bucket(Bucket="models")
        models = client.models("s3://models/prod/")

        def make(name: str) -> str:
            source = Path(folder) / name
            (source / "code").mkdir(parents=True)
            (source / "code" / "inference.py").write_text(CODE)
            (source / "facts.json").write_text(json.dumps({"name": name, "load": load, "log": str(log)}))
            return models.register(name, source, version="v1").target_model

        make("any")
        client.endpoints.create(
            EndpointSpec.multi_model(
                name="scoring", models=models.uri, image=image, role=role, instance_type="ml.m5.large", instance_count=4
            )
        ).wait(timeout=120)

        def boto(mode: str, attempts: int | None = None) -> Any:
            retries: dict[str, Any] = {"mode": mode} | ({"total_max_attempts": attempts} if attempts else {})
            return host.session().client(
                "sagemaker-runtime",
                endpoint_url=host.endpoint_url,
                config=Config(retries=retries, max_pool_connections=callers),
            )

        def plain(runtime: Any) -> Callable[[str], int]:
            def invoke(target: str) -> int:
                answer = runtime.invoke_endpoint(
                    EndpointName="scoring", Body=b"{}", TargetModel=target, ContentType="application/json"
                )
                answer["Body"].read()  # an answer that isn't read keeps its connection
                return 1 + int(answer["ResponseMetadata"]["RetryAttempts"])

            return invoke

        def jittered(runtime: Any) -> Callable[[str], int]:
            once = plain(runtime)

            def invoke(target: str) -> int:
                retrying = tenacity.Retrying(
                    wait=tenacity.wait_random_exponential(multiplier=1, max=20),
                    stop=tenacity.stop_after_delay(DEADLINE),
                    retry=tenacity.retry_if_exception_type(ClientError),
                )
                retrying(once, target)
                return int(retrying.statistics["attempt_number"])

            return invoke

        endpoint = client.endpoint("scoring")
        rivals: dict[str, Callable[[str], int]] = {
            "boto3 standard": plain(boto("standard")),
            "boto3 legacy": plain(boto("legacy")),
            "full jitter": jittered(boto("standard", 1)),
            "ours, first sight": lambda target: endpoint.invoke({}, model=target).attempts,
            "ours, after one like it": lambda target: endpoint.invoke({}, model=target).attempts,
        }
        rows = []
        for number, (name, invoke) in enumerate(rivals.items()):
            target = make(f"m{number}")

            def one(caller: int, invoke: Any = invoke, target: str = target) -> tuple[float, int | None]:
                time.sleep(caller * load / callers)
                began = time.perf_counter()
                try:
                    attempts = invoke(target)
                except ClientError:
                    return time.perf_counter() - began, None
                return time.perf_counter() - began, attempts

            began = time.perf_counter()
            with ThreadPoolExecutor(callers) as pool:
                done = list(pool.map(one, range(callers)))
            good = sorted(took for took, attempts in done if attempts is not None)
            counted = [attempts for _, attempts in done if attempts is not None]
            loads = log.read_text().split().count(f"m{number}")
            rows.append(
                [
                    name,
                    f"{len(good) / callers:.0%}",
                    f"{statistics.mean(counted):.2f}" if counted else "-",
                    str(loads - 1),
                    f"{good[len(good) // 2]:.2f}" if good else "-",
                    f"{good[-1]:.2f}" if good else "-",
                    f"{time.perf_counter() - began:.2f}",
                ]
            )
        table(["policy", "success", "attempts per caller", "extra loads", "p50 s", "slowest s", "all done s"], rows)
        boto3.DEFAULT_SESSION = None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20, help="herds per line")
    parser.add_argument("--only", choices=["herds", "fast", "collapse", "embedded"], help="one part")
    options = parser.parse_args()
    if options.only in (None, "embedded"):
        print("## A herd of 20 threads at an embedded SageMaker: 2 s loads, 4 instances, 429 after half a second\n")
        embedded(2.0, 20)
    if options.only in (None, "herds"):
        print("\n## Simulated: a herd of 20 callers; a request of a loading model is held for up to a minute")
        herds(options.rounds, fast_answers=False)
    if options.only in (None, "fast"):
        print("\n## Simulated: 429 at once, and any instance may get the next attempt")
        herds(options.rounds, fast_answers=True)
    if options.only in (None, "collapse"):
        print("\n## Simulated: a fleet that starts cold; 4 instances hold 50 of 400 models each, 14 calls a second")
        print("\nThe last 10 of 30 minutes. Requests of a loading model are held for up to a minute:\n")
        collapses(Collapse())
        print("\n429 at once, and any instance may get the next attempt:\n")
        collapses(Collapse(hold=0.02, any_while_cold=True))


if __name__ == "__main__":
    main()
