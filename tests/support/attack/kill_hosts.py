"""A host that is killed again and again on one data directory, and what it must find at each start."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import boto3
import psutil
from botocore.config import Config
from botocore.exceptions import ClientError, HTTPClientError
from botocore.exceptions import ConnectionError as BotoConnectionError

from tests.support.attack.kill_help import Forked, Forks, content, leftovers, until
from tests.support.local.helpers import archive, make_config, make_endpoint, make_model

BUCKET, KEPT = "kept", "kept"
SIZES = (100, 70_000, 600_000)
SETTINGS = ("provisioning=0.05", "scaling=0.02", "deletion=0.02", "wait_scale=0.001")
_GONE = (HTTPClientError, BotoConnectionError)  # what a client meets when the host goes away
_TEMPORARY = ("mme", "tmp")


class Hosts:
    """Starts a host on one data directory, works with it, kills it, and checks what the next one finds.

    Args:
        forks: Forks the hosts.
        folder: A folder for the data directory and reports.
        dice: Choices.
    """

    def __init__(self, forks: Forks, folder: Path, dice: Random) -> None:
        self.forks, self.folder, self.dice = forks, folder, dice
        self.data = folder / "data"
        self.starts = self.killed_starting = self.killed_working = 0
        self.start_steps = 0
        self.ports = [0, 0]
        self.environment: dict[str, str] = {}
        self.stored: dict[str, int] = {}  # size of each object whose PUT was answered
        self.tried: dict[str, int] = {}  # of the last run, answered or not
        self.in_service: set[str] = set()
        self.unsure: set[str] = set()
        self.clients: dict[str, Any] = {}
        self.old_ports: set[int] = set()

    def start(self, at: int | None, work_at: int | None = None) -> Forked:
        """Fork a host that ends at a step, counted from its start, or from `work_at` after `work`."""
        self.starts += 1
        words = ["--port", str(self.ports[0]), "--s3-port", str(self.ports[1]), "--data-dir", str(self.data)]
        for setting in SETTINGS:
            words += ["--set", setting]
        return self.forks.start(
            self.folder / f"host-{self.starts}", run="host", arguments=words, at=at, work_at=work_at
        )

    def ready(self, host: Forked) -> bool:
        """Whether it has said so."""
        return host.report.exists() and "# ready" in host.report.read_text()

    def connect(self, host: Forked) -> None:
        """Make clients; the keys and addresses are those of the first start."""
        lines = [line.removeprefix("export ") for line in host.report.read_text().splitlines() if "export " in line]
        said = dict(shlex.split(line)[0].split("=", 1) for line in lines)
        assert self.environment in ({}, said)
        if self.environment:
            return
        self.environment = said
        session = boto3.Session(
            said["AWS_ACCESS_KEY_ID"], said["AWS_SECRET_ACCESS_KEY"], region_name=said["AWS_DEFAULT_REGION"]
        )
        once = Config(retries={"total_max_attempts": 1}, connect_timeout=10, read_timeout=60)
        for service in ("s3", "sagemaker", "sagemaker-runtime"):
            url = said["AWS_ENDPOINT_URL_S3" if service == "s3" else "AWS_ENDPOINT_URL"]
            self.clients[service] = session.client(service, endpoint_url=url, config=once)
        self.ports = [int(said[name].rsplit(":", 1)[1]) for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3")]
        s3 = self.clients["s3"]
        s3.create_bucket(Bucket=BUCKET)
        s3.put_object(Bucket=BUCKET, Key="models/one.tar.gz", Body=archive(3))
        make_endpoint(self.clients["sagemaker"], KEPT, Image="bare", ModelDataUrl=f"s3://{BUCKET}/models/")
        self.in_service.add(KEPT)

    def close(self) -> None:
        for one in self.clients.values():
            one.close()

    def ask(self, endpoint: str, model: str, factor: int) -> None:
        answer = self.clients["sagemaker-runtime"].invoke_endpoint(
            EndpointName=endpoint, TargetModel=model, ContentType="application/json", Body=b"[2]"
        )
        assert json.loads(answer["Body"].read()) == [2 * factor]

    def check(self) -> None:
        """A host that was started again has everything, and nothing too much."""
        self.objects_are_whole()
        self.endpoints_are_back()
        self.nothing_is_left_over()

    def objects_are_whole(self) -> None:
        s3 = self.clients["s3"]
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
        listed = {one["Key"]: one["Size"] for page in pages for one in page.get("Contents", [])}
        for key, size in self.stored.items():
            assert listed.get(key) == size, key
        for key, size in self.tried.items():  # in the last run: in full; whoever was not answered may be absent
            assert key in listed or key not in self.stored
            if key in listed:
                assert listed[key] == size, key
                assert s3.get_object(Bucket=BUCKET, Key=key)["Body"].read() == body_of(key, size), key
        assert set(listed) <= {*self.stored, *self.tried, "models/one.tar.gz"}
        for key in set(self.tried) & set(listed):
            self.stored[key] = listed[key]
        self.tried = {}

    def endpoints_are_back(self) -> None:
        sm = self.clients["sagemaker"]

        def settled() -> dict[str, str] | None:
            found = {one["EndpointName"]: one["EndpointStatus"] for one in sm.list_endpoints()["Endpoints"]}
            busy = ("Creating", "Updating", "Deleting", "RollingBack", "SystemUpdating")
            return None if any(status in busy for status in found.values()) else found

        found = until(settled, "an endpoint stays as it is")
        for name in self.in_service:
            assert found.get(name) == "InService", (name, found)
        assert set(found) <= self.in_service | self.unsure
        for name, status in found.items():
            assert status == "InService", sm.describe_endpoint(EndpointName=name)
            self.ask(name, "one.tar.gz", 3)
            if name != KEPT:
                sm.delete_endpoint(EndpointName=name)
        until(lambda: set(settled() or ()) == {KEPT}, "an endpoint is not deleted")
        for one in sm.list_endpoint_configs(MaxResults=100)["EndpointConfigs"]:
            if one["EndpointConfigName"] != KEPT:
                sm.delete_endpoint_config(EndpointConfigName=one["EndpointConfigName"])
        for one in sm.list_models(MaxResults=100)["Models"]:
            if one["ModelName"] != KEPT:
                sm.delete_model(ModelName=one["ModelName"])
        self.in_service, self.unsure = {KEPT}, set()

    def nothing_is_left_over(self) -> None:
        assert leftovers(self.data) == []
        volumes = [one.name for one in (self.data / "hosting" / "volumes").iterdir()]
        until(lambda: len([*(self.data / "hosting" / "volumes").iterdir()]) == 1, f"old volumes: {volumes}")
        assert len(self.temporary()) <= 1, self.temporary()
        now = set(json.loads((self.data / "s3" / "weed.json").read_text())["ports"])
        assert sockets(self.old_ports - now) == []
        self.old_ports |= now

    def temporary(self) -> list[str]:
        return sorted(str(one) for one in self.forks.folder.iterdir() if one.name.startswith(_TEMPORARY))

    def stopped(self) -> None:
        """After an orderly end nothing is left but the data."""
        host = self.start(None)
        until(lambda: self.ready(host), host.report)
        self.check()
        os.kill(host.pid, signal.SIGTERM)
        assert not host.wait()
        assert sockets(self.old_ports) == []
        assert self.temporary() == []
        assert [*(self.data / "hosting" / "volumes").iterdir()] == []

    def kill(self) -> str:
        """Start, check, work, die: somewhere."""
        starting = self.start_steps and self.dice.random() < 0.35
        at = self.dice.randint(1, self.start_steps) if starting else None
        work_at = max(1, int(3000 ** self.dice.random()))
        host = self.start(at, work_at)
        until(lambda: self.ready(host) or is_dead(host.pid), host.report)
        if not starting:
            self.connect(host)
            self.check()
            os.kill(host.pid, signal.SIGUSR1)
        # The numbers of steps differ from start to start: a host that is ready earlier gets work.
        with Work(self) if self.ready(host) else contextlib.nullcontext():
            assert host.wait(), host.report.read_text()
        self.start_steps = self.start_steps or host.last("started")
        self.killed_starting += bool(starting)
        self.killed_working += not starting
        self.gone()
        return f"start step {at}" if starting else f"work step {work_at}"

    def gone(self) -> None:
        """Nobody listens any more."""
        for port in filter(None, self.ports):
            with socket.socket() as probe:
                assert probe.connect_ex(("127.0.0.1", port)) != 0


class Work:
    """What clients do until the host is gone; the caller waits for that inside the block.

    Args:
        hosts: What is known.
    """

    def __init__(self, hosts: Hosts) -> None:
        self._hosts, self._tag = hosts, str(hosts.starts)
        self._over = threading.Event()
        self._trouble: list[BaseException] = []
        jobs: list[Callable[[], Iterator[None]]] = [self._puts, self._endpoints, self._models]
        self._threads = [threading.Thread(target=self._until_over, args=(job,)) for job in jobs]

    def __enter__(self) -> Work:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()
        assert not self._trouble, self._trouble

    def _until_over(self, job: Callable[[], Iterator[None]]) -> None:
        try:
            with contextlib.suppress(*_GONE):
                for _ in job():
                    if self._over.is_set():
                        return
        except BaseException as error:  # noqa: BLE001 - raised at the end
            self._trouble.append(error)

    def _put(self, key: str, data: bytes, **more: str) -> None:
        hosts = self._hosts
        hosts.tried[key] = len(data)
        hosts.clients["s3"].put_object(Bucket=BUCKET, Key=key, Body=data, **more)
        hosts.stored[key] = len(data)

    def _puts(self) -> Iterator[None]:
        number = 0
        while True:
            key, size = f"objects/{self._tag}-{number}", SIZES[number % 3]
            self._put(key, body_of(key, size), **({"ServerSideEncryption": "AES256"} if number % 4 == 3 else {}))
            number += 1
            yield

    def _models(self) -> Iterator[None]:
        number = 0
        while True:
            name = f"{self._tag}-{number}.tar.gz"
            self._put(f"models/{name}", body_of(f"models/{name}", 0))
            yield
            self._hosts.ask(KEPT, name, 7)
            number += 1
            yield

    def _endpoints(self) -> Iterator[None]:
        hosts, sm, number = self._hosts, self._hosts.clients["sagemaker"], 0
        while True:
            name = f"e-{self._tag}-{number}"
            for one in (name, f"{name}-2"):
                make_model(sm, one, Image="bare", ModelDataUrl=f"s3://{BUCKET}/models/")
                make_config(sm, one)
            yield
            hosts.unsure.add(name)
            sm.create_endpoint(EndpointName=name, EndpointConfigName=name)
            yield from self._settled(name)
            hosts.in_service.add(name)
            hosts.ask(name, "one.tar.gz", 3)
            yield
            sm.update_endpoint(EndpointName=name, EndpointConfigName=f"{name}-2")
            yield from self._settled(name)
            weights = [{"VariantName": "AllTraffic", "DesiredInstanceCount": 2}]
            sm.update_endpoint_weights_and_capacities(EndpointName=name, DesiredWeightsAndCapacities=weights)
            yield from self._settled(name)
            hosts.in_service.discard(name)
            sm.delete_endpoint(EndpointName=name)
            with contextlib.suppress(ClientError):  # it is gone
                yield from self._settled(name)
            number += 1
            yield

    def _settled(self, name: str) -> Iterator[None]:
        while True:
            yield
            status = self._hosts.clients["sagemaker"].describe_endpoint(EndpointName=name)["EndpointStatus"]
            if status == "InService":
                return
            assert status in ("Creating", "Updating", "Deleting"), status
            self._over.wait(0.01)


def body_of(key: str, size: int) -> bytes:
    """What an object holds, by its key."""
    return _archive_of_seven() if key.startswith("models/") else content(key, size)


@cache
def _archive_of_seven() -> bytes:
    return archive(7)


def is_dead(pid: int) -> bool:
    """Whether a process has ended."""
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def sockets(ports: set[int]) -> list[str]:
    """The unix sockets that a SeaweedFS with these ports has left. One that another host listens on is that host's."""
    return [str(one) for port in ports for one in Path("/tmp").glob(f"seaweedfs-*-{port}.sock") if not _heard(one)]


def _heard(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
        return True
