"""Measure what a program pays for its first call: CPU, wall time, memory and modules, from `python` to the first reply.

Each rival runs in a fresh interpreter. The rivals take turns within a round. A figure is the median over the rounds. A
ratio is the median of the ratio to boto3 in the same round. The server is a process on the same machine, under the name
of SageMaker's own host, so that each rival finds the address by the rules that it uses on AWS.

    python benchmarks/first_call.py                          # all programs, about two minutes
    python benchmarks/first_call.py --out docs/benchmarks    # and write first-call.md there
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs
import trustme
from botocore.httpsession import get_cert_path

HERE = Path(__file__).parent
REGION = "eu-west-1"
HOST = f"runtime.sagemaker.{REGION}.amazonaws.com"
TITLES = {
    "imports": "Imports",
    "environment": "First call, credentials and region in the environment, as in AWS Lambda",
    "lambda": "A handler for AWS Lambda, from its import to its first answer",
    "expiring": "First call, keys that expire, which botocore renews",
    "profile": "First call, credentials and region in the files below ~/.aws",
}
CASES = tuple(TITLES)
KEYS = {"AWS_ACCESS_KEY_ID": "AKIDBENCHMARK", "AWS_SECRET_ACCESS_KEY": "s" * 40}

# Every name leads to the server on this machine; the port is in the environment.
PRELUDE = """
import os, socket
real = socket.getaddrinfo
socket.getaddrinfo = lambda host, port, *args, **options: real("127.0.0.1", int(os.environ["PORT"]), *args, **options)
"""
CALLS = {
    "boto3": """
import boto3
client = boto3.client("sagemaker-runtime")
reply = client.invoke_endpoint(EndpointName="scoring", TargetModel="fraud/v3.tar.gz", Body=b"1,2")
assert reply["Body"].read()
""",
    "mme": """
from mme_sdk import MMEClient
assert MMEClient().endpoint("scoring").invoke(b"1,2", model="fraud/v3.tar.gz").body
""",
    "mme-botocore": """
from mme_sdk import MMEClient
assert MMEClient(transport="botocore").endpoint("scoring").invoke(b"1,2", model="fraud/v3.tar.gz").body
""",
    "mme-async": """
import asyncio
from mme_sdk import AsyncMMEClient
async def main():
    async with AsyncMMEClient() as client:
        assert (await client.endpoint("scoring").invoke(b"1,2", model="fraud/v3.tar.gz")).body
asyncio.run(main())
""",
    "floor": f"""
import hashlib, hmac, json, ssl
context = ssl.create_default_context(cafile=os.environ["AWS_CA_BUNDLE"])
sock = context.wrap_socket(socket.create_connection(("{HOST}", 443)), server_hostname="{HOST}")
sock.sendall(b"POST / HTTP/1.1\\r\\nHost: h\\r\\nContent-Length: 3\\r\\n\\r\\n1,2")
assert sock.recv(65536)
""",
}
PROGRAMS = {rival: PRELUDE + code for rival, code in CALLS.items()}
EVENT = '{"tenant": "fraud", "features": {"amount": 12.5}}'
HANDLERS = {
    "boto3": f"""
import boto3, json
client = boto3.client("sagemaker-runtime")
def handler(event, context):
    reply = client.invoke_endpoint(
        EndpointName="scoring", TargetModel=event["tenant"] + "/v1.tar.gz", ContentType="application/json",
        Body=json.dumps(event["features"]),
    )
    return {{"statusCode": 200, "body": json.dumps(json.loads(reply["Body"].read()))}}
assert handler({EVENT}, None)["statusCode"] == 200
""",
    "mme": f"""
import sys
sys.path.insert(0, {str(HERE.parent / "examples" / "web")!r})
from lambda_handler import handler
class Context:
    def get_remaining_time_in_millis(self):
        return 30_000
assert handler({EVENT}, Context())["statusCode"] == 200
""",
}
IMPORTS = {
    "nothing": "",
    "import boto3": "import boto3",
    "import mme_sdk": "import mme_sdk",
    "from mme_sdk import MMEClient": "from mme_sdk import MMEClient",
    "from mme_sdk import MMEClient, EndpointSpec": "from mme_sdk import MMEClient, EndpointSpec",
    "client.endpoint(…)": "from mme_sdk import MMEClient\nMMEClient().endpoint('scoring')",
}


@attrs.frozen
class Sample:
    """CPU and wall seconds of one process."""

    cpu: float
    wall: float


def run(code: str, environment: dict[str, str]) -> Sample:
    """Run a program in a fresh interpreter."""
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-c", code], env=environment)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"a program ended with {process.returncode}:\n{code}")
    return Sample(used.ru_utime + used.ru_stime, time.perf_counter() - began)


def look_into(code: str, environment: dict[str, str]) -> tuple[int, float]:
    """Run a program, and return how many modules it has imported and its largest memory in MB.

    It also writes the byte code that the measured runs read, as an installation does.
    """
    code += "\nimport sys; status = open('/proc/self/status').read()"
    code += "\nprint(len(sys.modules), status.split('VmHWM:')[1].split()[0])"
    done = subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True)
    count, kilobytes = done.stdout.split()
    return int(count), int(kilobytes) / 1024


def in_turns(programs: dict[str, str], environment: dict[str, str], rounds: int) -> dict[str, list[Sample]]:
    """Run the programs in turns, once a round."""
    seen: dict[str, list[Sample]] = {name: [] for name in programs}
    for _ in range(rounds):
        for name, code in programs.items():
            seen[name].append(run(code, environment))
    return seen


def compare(title: str, base: str, programs: dict[str, str], environment: dict[str, str], rounds: int) -> str:
    """Run the programs in turns, and return a table; it is also printed."""
    seen_inside = {name: look_into(code, environment) for name, code in programs.items()}
    seen = in_turns(programs, environment, rounds)
    lines = [f"### {title}", "", "| | CPU ms | spread | CPU / boto3 | wall ms | memory MB | modules |"]
    lines.append("|---|--:|--:|--:|--:|--:|--:|")
    for name, samples in seen.items():
        cpu = sorted(1000 * one.cpu for one in samples)
        ratio = statistics.median(one.cpu / other.cpu for one, other in zip(samples, seen[base], strict=True))
        lines.append(
            f"| {name} | {statistics.median(cpu):.0f} | {cpu[0]:.0f}–{cpu[-1]:.0f} | {ratio:.2f}"
            f" | {1000 * statistics.median(one.wall for one in samples):.0f}"
            f" | {seen_inside[name][1]:.0f} | {seen_inside[name][0]} |"
        )
    text = "\n".join([*lines, ""])
    print(text, flush=True)
    return text


def write(tables: list[str], out: Path, rounds: int) -> None:
    """Write the page."""
    import botocore

    machine = (
        f"{os.cpu_count()} cores (load average {os.getloadavg()[0]:.0f} at the end), "
        f"{platform.python_implementation()} {platform.python_version()}, botocore {botocore.__version__}"
    )
    lines = [
        "# What the first call costs",
        "",
        f"Written by `benchmarks/first_call.py` on {machine}, {rounds} rounds.",
        "Each program runs in a fresh interpreter, with byte code. Figures are medians; a ratio is the median of the",
        "ratio to boto3 in the same round. Compare the ratios: other programs on the machine change the times.",
        "",
        '`mme` is `MMEClient().endpoint(…).invoke(…)`, `mme-botocore` the same with `transport="botocore"`, `floor` a',
        "raw TLS socket with an unsigned request. The server answers under SageMaker's own host name. The handler is",
        "`examples/web/lambda_handler.py`; that of boto3 does the same without errors and deadline.",
        "",
        *tables,
    ]
    (out / "first-call.md").write_text("\n".join(lines), encoding="utf-8")


@contextmanager
def server(folder: Path) -> Iterator[tuple[int, Path]]:
    """Run the server under SageMaker's name; yield its port, and the bundle of certificates to trust."""
    authority = trustme.CA()
    certificate, bundle = folder / "server.pem", folder / "ca.pem"
    authority.issue_cert(HOST).private_key_and_cert_chain_pem.write_to_path(str(certificate))
    # With the certificates that every program loads on AWS.
    bundle.write_bytes(Path(get_cert_path(True)).read_bytes() + authority.cert_pem.bytes())
    command = [sys.executable, str(HERE / "invoke_sink.py"), "--cert", str(certificate)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline()), bundle
        finally:
            process.stdin.close()


def environments(folder: Path, port: int, bundle: Path) -> dict[str, dict[str, str]]:
    """Return the environment variables of each case; the files of the last one are written to a folder."""
    plain = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("AWS_", "REQUESTS_", "PYTHON")) and not key.lower().endswith("_proxy")
    }
    plain |= {"HOME": str(folder), "PYTHONPATH": str(HERE.parent), "PORT": str(port), "AWS_CA_BUNDLE": str(bundle)}
    (folder / ".aws").mkdir()
    lines = "".join(f"{key.lower()} = {value}\n" for key, value in KEYS.items())
    (folder / ".aws/credentials").write_text(f"[default]\n{lines}", encoding="utf-8")
    (folder / ".aws/config").write_text(f"[default]\nregion = {REGION}\n", encoding="utf-8")
    without_files = plain | KEYS | {"AWS_DEFAULT_REGION": REGION}
    return {
        "imports": plain,
        "environment": without_files | {"AWS_SESSION_TOKEN": "t" * 300},
        "lambda": without_files
        | {"AWS_SESSION_TOKEN": "t" * 300, "AWS_REGION": REGION, "AWS_LAMBDA_FUNCTION_NAME": "score"},
        "expiring": without_files | {"AWS_CREDENTIAL_EXPIRATION": "2100-01-01T00:00:00Z"},
        "profile": plain,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--only", choices=CASES, nargs="+")
    parser.add_argument("--out", type=Path, help="folder for first-call.md")
    options = parser.parse_args()
    tables: list[str] = []
    with tempfile.TemporaryDirectory() as name, server(Path(name)) as (port, bundle):
        for case, environment in environments(Path(name), port, bundle).items():
            if case in (options.only or CASES):
                base, programs = ("import boto3", IMPORTS) if case == "imports" else ("boto3", PROGRAMS)
                if case == "lambda":
                    programs = {rival: PRELUDE + code for rival, code in HANDLERS.items()}
                tables.append(compare(TITLES[case], base, programs, environment, options.rounds))
    if options.out is not None:
        write(tables, options.out, options.rounds)


if __name__ == "__main__":
    main()
