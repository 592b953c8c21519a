"""Register one model and kill this process right before or after its n-th request. test_kill.py runs this file."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

import boto3

from mme_sdk.aws import Aws, Call
from mme_sdk.registry import ModelRegistry
from mme_sdk.registry.operations import upload


class MortalAws(Aws):
    """Counts requests and kills the process at a chosen one."""

    def __init__(self, die_at: int, after: bool, **more: Any) -> None:
        super().__init__(**more)
        self.die_at, self.after, self.sent = die_at, after, 0

    def send(self, call: Call) -> Any:
        self.sent += 1
        mine = self.sent == self.die_at
        if mine and not self.after:
            os.kill(os.getpid(), signal.SIGKILL)
        answer = super().send(call)
        if mine and self.after:
            os.kill(os.getpid(), signal.SIGKILL)
        return answer


def main() -> None:
    url, prefix, source, part, *deaths = sys.argv[1:]
    upload.PART = int(part)
    upload._WIDTH = 1
    # Each killed process is a fork, so that the modules are imported once.
    for death in deaths:
        at, when = death.split(":")
        child = os.fork()
        if child == 0:
            session = boto3.Session("local", "local-secret", region_name="us-east-1")
            aws = MortalAws(int(at), when == "after", session=session, endpoint_url={"s3": url})
            ModelRegistry(aws, prefix.replace("DEATH", f"{at}-{when}")).register("fraud", source, "v1")
            print(f"{death} survived after {aws.sent}", flush=True)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status):
            assert os.WEXITSTATUS(status) == 0, death
            return


if __name__ == "__main__":
    main()
