"""Measures cold starts: how long callers wait, how often they send, and how many loads they cause, for each policy.

    python benchmarks/cold_start.py                         # everything, in about two minutes
    python benchmarks/cold_start.py --only embedded         # against an embedded SageMaker, with boto3 and threads
    python benchmarks/cold_start.py --rounds 10 --write docs/benchmarks

All parts except `embedded` run in simulated time, so their results do not depend on the machine. There, boto3 is
represented by the rules of botocore 1.44, which were counted against a loopback server (`legacy`: five attempts;
`standard`: three, and one for ModelNotReadyException). `full jitter` waits 1 to 20 s, as tenacity's
`wait_random_exponential` does, until the deadline. `mme_sdk` is the code of `mme_sdk.runtime`.
"""

from __future__ import annotations

import argparse
import csv
import datetime
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

from mme_sdk._flows.effects import Flow, Sleep
from mme_sdk.config import ColdStart, RetryPolicy, Timeouts
from mme_sdk.errors import ModelNotReadyError, OutcomeUnknownError
from mme_sdk.fleet import FleetPolicy, Sticky
from mme_sdk.runtime.cold_start.memory import Memory
from mme_sdk.runtime.effects import Send
from mme_sdk.runtime.retry.answers import error_fields
from mme_sdk.runtime.retry.attempts import Attempts, Settings
from mme_sdk.runtime.transport_interface import InvokeRequest

DEADLINE = 360.0
Record = dict[str, str]
LEARNING, COUNTED = 2, 10  # herds from which clients learn, and herds that are then measured
Decide = Callable[[Simulation, InvokeRequest, Any, random.Random], Flow[Any]]


def _botocore(attempts: int, cold_attempts: int) -> Decide:
    def flow(_: Simulation, request: InvokeRequest, __: Settings, rng: random.Random) -> Flow[Any]:
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

    return flow


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


def _mme_sdk(simulation: Simulation, request: InvokeRequest, process: Settings, _: random.Random) -> Flow[Any]:
    return Attempts(process, request, began=simulation.now, deadline=DEADLINE).run()


@attrs.frozen
class Policy:
    """A policy and the state of its clients."""

    name: str
    decide: Decide
    learned: bool = False
    """Whether clients met two herds before those that are measured."""
    leases: bool = False
    """Whether the client processes share leases."""
    cold: ColdStart = attrs.field(factory=ColdStart)


POLICIES = [
    Policy("boto3 standard", _botocore(3, 1)),
    Policy("boto3 legacy", _botocore(5, 5)),
    Policy("full jitter", _full_jitter),
    Policy("mme_sdk, first load", _mme_sdk),
    Policy("mme_sdk, learned", _mme_sdk, learned=True),
    Policy("mme_sdk, learned, leases", _mme_sdk, learned=True, leases=True),
]


def processes(count: int, simulation: Simulation, seed: int, policy: Policy) -> list[Settings]:
    leases = SharedLeases(simulation) if policy.leases else None
    return [
        Settings(
            timeouts=Timeouts(),
            retry=RetryPolicy(),
            clock=simulation,
            rng=random.Random(seed * 1000 + number),
            memory=Memory(policy.cold, leases=leases),
        )
        for number in range(count)
    ]


@attrs.frozen(kw_only=True)
class Herd:
    """Many callers of one model that is not loaded."""

    load: float
    instances: int
    processes: int
    hold: float = 59.9
    any_while_cold: bool = False
    callers: int = 20
    within: float = 5.0
    spread: float = 0.0
    """Standard deviation of the logarithm of the load time, between herds."""


@attrs.define
class Results:
    """What the callers of many herds met."""

    firsts: list[float] = attrs.Factory(list)
    """First success as a share of the load time, for each herd."""
    late: list[float] = attrs.Factory(list)
    """Seconds after the load, or after the call if that was later, for each successful caller."""
    attempts: list[int] = attrs.Factory(list)
    extra: list[int] = attrs.Factory(list)
    """Loads beyond the first, for each herd."""
    took: list[float] = attrs.Factory(list)
    calls: int = 0

    def record(self) -> Record:
        return {
            "first success / load": f"{statistics.median(self.firsts):.2f}" if self.firsts else "",
            "median s late": f"{statistics.median(self.late):.2f}" if self.late else "",
            "attempts per caller": f"{statistics.mean(self.attempts):.2f}",
            "extra loads": f"{statistics.mean(self.extra):.2f}",
            "success %": f"{100 * len(self.took) / self.calls:.0f}",
            "p99 s": f"{sorted(self.took)[int(len(self.took) * 0.99)]:.1f}" if self.took else "",
        }


def run_herd(herd: Herd, policy: Policy, seed: int, results: Results) -> None:
    """Let herds meet a new fleet each, as after an update of the endpoint. The clients keep what they learned."""
    rng = random.Random(seed)
    simulation = Simulation()
    clients = processes(herd.processes, simulation, seed, policy)
    request = InvokeRequest(endpoint="scoring", body=b"{}", target_model="fraud/v1.tar.gz")
    for number in range(LEARNING + COUNTED if policy.learned else 1):
        fleet = FleetPolicy(
            memory_bytes=10_000 * MB,
            volume_bytes=100_000 * MB,
            spill_outstanding=2,
            routing=AnyWhileCold() if herd.any_while_cold else Sticky(),
        )
        load = herd.load * rng.lognormvariate(0.0, herd.spread) if herd.spread else herd.load
        times = Times(download=load / 2, load=load / 2, hold=herd.hold)
        endpoint = SimulatedEndpoint(simulation, fleet, herd.instances, times, rng)
        outcomes: list[Outcome] = []

        def come(caller: int, to: SimulatedEndpoint = endpoint, into: list[Outcome] = outcomes) -> None:
            flow = policy.decide(simulation, request, clients[caller % herd.processes], rng)
            into.append(call(simulation, to, flow))

        began = simulation.now
        for caller in range(herd.callers):
            simulation.after(rng.uniform(0.0, herd.within) if caller else 0.0, partial(come, caller))
        simulation.run(began + 4000.0)
        if policy.learned and number < LEARNING:
            continue
        good = [one for one in outcomes if one.error is None and one.ended - one.began <= DEADLINE]
        results.calls += len(outcomes)
        results.attempts += [one.attempts for one in outcomes]
        results.extra.append(endpoint.loads - 1)
        results.took += [one.ended - one.began for one in good]
        # From when the model was there, or the caller came, whatever was later.
        results.late += [one.ended - max(one.began, began + load) for one in good]
        if good:
            results.firsts.append((min(one.ended for one in good) - began) / load)


def herd_record(herd: Herd, policy: Policy, rounds: int) -> Record:
    results = Results()
    for seed in range(max(1, rounds // COUNTED) if policy.learned else rounds):
        run_herd(herd, policy, seed, results)
    return results.record()


def herds(rounds: int, *, immediate: bool) -> list[Record]:
    """Measure every policy for several load times, instances and client processes."""
    records = []
    for load in (2.0, 20.0, 90.0, 300.0):
        for instances in (1, 4):
            for count in (1, 4, 16):
                herd = Herd(
                    load=load,
                    instances=instances,
                    processes=count,
                    hold=0.02 if immediate else 59.9,
                    any_while_cold=immediate,
                )
                for policy in POLICIES:
                    if policy.leases and count == 1:
                        continue
                    case = {"endpoint": _endpoint(immediate), "load s": f"{load:g}"}
                    case |= {"instances": str(instances), "processes": str(count), "policy": policy.name}
                    records.append(case | herd_record(herd, policy, rounds))
    return records


def _endpoint(immediate: bool) -> str:
    """Return how the endpoint treats a request to a loading model: it answers 429 at once, or holds the request."""
    return "immediate" if immediate else "held"


@attrs.frozen(kw_only=True)
class Collapse:
    """A fleet that starts without loaded models, and with more models than fit into its memory."""

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


def collapse(case: Collapse, policy: Policy, count: int, seed: int = 1) -> Record:
    """Measure success, seconds and loads per call in the last third of the time."""
    rng = random.Random(seed)
    simulation = Simulation()
    fleet = FleetPolicy(
        memory_bytes=case.held * 100 * MB,
        volume_bytes=1_000_000 * MB,
        loader_slots=case.loaders,
        spill_outstanding=case.spill,
        routing=AnyWhileCold() if case.any_while_cold else Sticky(),
    )
    times = Times(download=0.0001, load=case.load, hold=case.hold)
    endpoint = SimulatedEndpoint(simulation, fleet, case.instances, times, rng)
    clients = processes(count, simulation, seed, policy)
    weights = [1 / (rank + 1) ** case.zipf for rank in range(case.models)]
    names = [f"m-{number}" for number in range(case.models)]
    outcomes: list[Outcome] = []
    seconds = case.minutes * 60.0

    def arrive() -> None:
        request = InvokeRequest(endpoint="scoring", body=b"{}", target_model=rng.choices(names, weights)[0])
        flow = policy.decide(simulation, request, clients[rng.randrange(count)], rng)
        outcomes.append(call(simulation, endpoint, flow))
        if simulation.now < seconds:
            simulation.after(rng.expovariate(case.rate), arrive)

    simulation.after(0.0, arrive)
    simulation.run(seconds * 2 / 3)
    before = endpoint.loads
    simulation.run(seconds + DEADLINE + 100)
    last = [outcome for outcome in outcomes if outcome.began >= seconds * 2 / 3]
    good = [outcome for outcome in last if outcome.error is None and outcome.ended - outcome.began <= DEADLINE]
    took = sorted(outcome.ended - outcome.began for outcome in last)
    return {
        "success %": f"{100 * len(good) / len(last):.0f}",
        "p50 s": f"{took[len(took) // 2]:.2f}",
        "p95 s": f"{took[int(len(took) * 0.95)]:.1f}",
        "loads per call": f"{(endpoint.loads - before) / len(last):.2f}",
    }


def collapses() -> list[Record]:
    plain = attrs.evolve(POLICIES[3], name="mme_sdk")
    shared = attrs.evolve(plain, name="mme_sdk, leases", leases=True)
    lines = [(POLICIES[0], 1), (POLICIES[1], 1), (POLICIES[2], 1), (plain, 1), (plain, 4), (plain, 8), (shared, 8)]
    records = []
    for case in (Collapse(), Collapse(hold=0.02, any_while_cold=True)):
        for policy, count in lines:
            named = {"endpoint": _endpoint(case.any_while_cold), "policy": policy.name, "processes": str(count)}
            records.append(named | collapse(case, policy, count))
    return records


def table(records: list[Record]) -> None:
    """Print records as a Markdown table."""
    for row in (list(records[0]), ["---"] * len(records[0]), *(list(record.values()) for record in records)):
        print("| " + " | ".join(cell or "-" for cell in row) + " |")


def write(folder: Path, name: str, records: list[Record], command: str) -> None:
    """Write records as CSV, after two comments: the command that measured them, and the date."""
    with (folder / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
        file.write(f"# {command}\n# {datetime.date.today().isoformat()}\n")
        rows = csv.DictWriter(file, list(records[0]), lineterminator="\n")
        rows.writeheader()
        rows.writerows(records)


def read(folder: Path, name: str) -> list[Record]:
    """Read what `write` wrote."""
    with (folder / f"{name}.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(line for line in file if not line.startswith("#")))


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


def embedded(load: float, callers: int) -> list[Record]:
    """Measure the policies against an embedded SageMaker over HTTP, with boto3 and threads."""
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
                answer["Body"].read()  # an answer that is not read keeps its connection
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
        policies: dict[str, Callable[[str], int]] = {
            "boto3 standard": plain(boto("standard")),
            "boto3 legacy": plain(boto("legacy")),
            "full jitter": jittered(boto("standard", 1)),
            "mme_sdk, first load": lambda target: endpoint.invoke({}, model=target).attempts,
            "mme_sdk, after a similar model": lambda target: endpoint.invoke({}, model=target).attempts,
        }
        records: list[Record] = []
        for number, (name, invoke) in enumerate(policies.items()):
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
            records.append(
                {
                    "policy": name,
                    "success %": f"{100 * len(good) / callers:.0f}",
                    "attempts per caller": f"{statistics.mean(counted):.2f}" if counted else "",
                    "extra loads": str(loads - 1),
                    "p50 s": f"{good[len(good) // 2]:.2f}" if good else "",
                    "slowest s": f"{good[-1]:.2f}" if good else "",
                    "all done s": f"{time.perf_counter() - began:.2f}",
                }
            )
        boto3.DEFAULT_SESSION = None
    return records


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20, help="herds for each line")
    parser.add_argument("--only", choices=["herds", "fleet", "embedded"], help="one part")
    parser.add_argument("--write", type=Path, metavar="FOLDER", help="write CSV files as well")
    options = parser.parse_args()
    parts: dict[str, tuple[str, Callable[[], list[Record]]]] = {
        "embedded": ("20 threads, an embedded SageMaker, 2 s loads, 4 instances", lambda: embedded(2.0, 20)),
        "herds": (
            "Simulated: 20 callers of one model that is not loaded",
            lambda: herds(options.rounds, immediate=False) + herds(options.rounds, immediate=True),
        ),
        "fleet": (
            "Simulated: a fleet that starts cold: 400 models, 4 instances with space for 50 each, 14 calls a second",
            collapses,
        ),
    }
    for name, (title, measure) in parts.items():
        if options.only not in (None, name):
            continue
        print(f"\n## {title}\n")
        records = measure()
        table(records)
        if options.write:
            rounds = f" --rounds {options.rounds}" if name == "herds" else ""
            command = f"python benchmarks/cold_start.py --only {name}{rounds}"
            write(options.write, f"cold-start-{name}", records, command)


if __name__ == "__main__":
    main()
