"""Kills SeaweedFS below a host that stays, while objects go up and down; the host starts it again."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from random import Random
from typing import Any

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from mme_sdk.local import LocalSageMaker
from tests.support.attack.kill_help import Fuse, content, until
from tests.support.attack.kill_hosts import sockets
from tests.support.hosting.harness import pack
from tests.support.local.helpers import MULTIPLY

PART = 5 << 20


class Uploads:
    """One kill of SeaweedFS: four jobs side by side, a kill after so many bytes, and a look at what is there.

    Args:
        local: The host.
        bucket: A bucket that the endpoint `endpoint` serves.
        endpoint: The endpoint.
        dice: Choices.
        stored: Size by key of all objects whose PUT was answered; kept from kill to kill.
    """

    def __init__(self, local: LocalSageMaker, bucket: str, endpoint: str, dice: Random, stored: dict[str, int]) -> None:
        self.local, self.bucket, self.endpoint, self.dice, self.stored = local, bucket, endpoint, dice, stored
        once = Config(retries={"total_max_attempts": 1}, connect_timeout=10, read_timeout=90)
        self.s3 = local.boto("s3", config=once)
        self.runtime = local.boto("sagemaker-runtime", config=once)
        self.tag = f"s3-{dice.randrange(1 << 40):x}"
        self.tried: dict[str, int] = {}
        self.wrong: list[object] = []

    def run(self) -> str:
        """Kill, wait until S3 answers again, check."""
        models = [self.model(number) for number in range(3)]
        big = f"{self.tag}/big"
        self.put(big, content(big, PART), lambda data: io.BytesIO(data))
        server = self.local._s3
        assert server is not None
        assert server.pid is not None
        pid, ports = server.pid, set(server._ports.values())
        limit = self.dice.randint(1, 24 << 20)
        fuse = Fuse(pid, limit)
        jobs: list[Callable[[Fuse], None]] = [self.puts, self.parts, self.gets]
        with ThreadPoolExecutor(len(jobs) + len(models)) as pool:
            asked = [pool.submit(self.ask, key, factor, fuse) for key, factor in models]
            working = [pool.submit(self.until_killed, job, fuse) for job in jobs]
            for one in (*working, *asked):
                one.result()
        until(self.answers, "S3 does not come back")
        assert server.pid != pid
        self.objects_are_whole()
        for key, factor in models:
            until(lambda key=key, factor=factor: self.ask(key, factor), f"{key} is not served")  # type: ignore[misc]
        self.parts(None)
        self.objects_are_whole()
        assert not self.s3.list_multipart_uploads(Bucket=self.bucket, Prefix=f"{self.tag}/").get("Uploads")
        assert sockets(ports - set(server._ports.values())) == []
        assert self.wrong == []
        self.s3.close()
        self.runtime.close()
        return f"after {limit} bytes"

    def until_killed(self, job: Callable[[Fuse], None], fuse: Fuse) -> None:
        while not fuse.burnt.is_set():
            try:
                job(fuse)
            except (ClientError, BotoCoreError):
                if not fuse.burnt.is_set():
                    raise

    def model(self, number: int) -> tuple[str, int]:
        import tempfile
        from pathlib import Path

        key, factor = f"{self.tag}/{number}.tar.gz", number + 11
        with tempfile.TemporaryDirectory(prefix="kills-model-") as folder:
            Path(folder, "code").mkdir()
            Path(folder, "code", "inference.py").write_text(MULTIPLY.format(factor=factor))
            Path(folder, "weights").write_bytes(content(key, 3 << 20))
            packed = io.BytesIO()
            pack(Path(folder), packed)
        self.s3.put_object(Bucket=self.bucket, Key=key, Body=packed.getvalue())
        return key, factor

    def put(self, key: str, data: bytes, body: Callable[[bytes], Any]) -> None:
        self.tried[key] = len(data)
        self.s3.put_object(Bucket=self.bucket, Key=key, Body=body(data))
        self.stored[key] = len(data)

    def puts(self, fuse: Fuse) -> None:
        key = f"{self.tag}/put-{len(self.tried)}"
        self.put(key, content(key, (1000, 200_000, 2_000_000)[len(self.tried) % 3]), fuse.body)

    def parts(self, fuse: Fuse | None) -> None:
        """One upload in parts; what an earlier one left is aborted."""
        for one in self.s3.list_multipart_uploads(Bucket=self.bucket, Prefix=f"{self.tag}/").get("Uploads", []):
            self.s3.abort_multipart_upload(Bucket=self.bucket, Key=one["Key"], UploadId=one["UploadId"])
        key = f"{self.tag}/parts-{len(self.tried)}"
        data = content(key, PART + 100_000)
        self.tried[key] = len(data)
        upload = self.s3.create_multipart_upload(Bucket=self.bucket, Key=key)["UploadId"]
        there = []
        for number, part in enumerate((data[:PART], data[PART:]), 1):
            sent = self.s3.upload_part(
                Bucket=self.bucket,
                Key=key,
                UploadId=upload,
                PartNumber=number,
                Body=part if fuse is None else fuse.body(part),
            )
            there.append({"PartNumber": number, "ETag": sent["ETag"]})
        self.s3.complete_multipart_upload(
            Bucket=self.bucket, Key=key, UploadId=upload, MultipartUpload={"Parts": there}
        )
        self.stored[key] = len(data)

    def gets(self, fuse: Fuse) -> None:
        key = f"{self.tag}/big"
        body = self.s3.get_object(Bucket=self.bucket, Key=key)["Body"]
        came = bytearray()
        try:
            while chunk := body.read(1 << 16):
                came += chunk
                fuse.pass_on(len(chunk))
        finally:
            if not content(key, PART).startswith(bytes(came)):
                self.wrong.append((key, len(came)))

    def ask(self, key: str, factor: int, fuse: Fuse | None = None) -> bool:
        """Whether the model answers; an answer must be right, and an error typed."""
        try:
            answer = self.runtime.invoke_endpoint(
                EndpointName=self.endpoint, TargetModel=key, ContentType="application/json", Body=b"[2]"
            )
        except ClientError as error:
            status = error.response["ResponseMetadata"]["HTTPStatusCode"]
            if fuse is None or status not in (400, 424, 429, 500, 503, 507):
                self.wrong.append((key, error.response))
            return False
        said = json.loads(answer["Body"].read())
        if said != [2 * factor]:
            self.wrong.append((key, said))
        return True

    def answers(self) -> bool:
        try:
            self.s3.head_bucket(Bucket=self.bucket)
        except (ClientError, BotoCoreError):
            return False
        return True

    def objects_are_whole(self) -> None:
        """All that was answered is there; what is there is whole."""
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix="s3-")
        listed = {one["Key"]: one["Size"] for page in pages for one in page.get("Contents", [])}
        for key, size in self.stored.items():
            assert listed.get(key) == size, key
        for key in set(listed) & set(self.tried):
            assert listed[key] == self.tried[key], key
            data = self.s3.get_object(Bucket=self.bucket, Key=key)["Body"].read()
            assert data == content(key, self.tried[key]), key
