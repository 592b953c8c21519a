"""Run NVIDIA Triton with its SageMaker front end as a container; the recipe `triton` starts this program.

The environment of the given interpreter contains `nvidia-pytriton`, which includes the server, and `numpy<2`. Requires
Linux on x86-64, glibc 2.35 or newer and a C compiler. Model archives have the layout of Triton's Python backend.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from mme_sdk.local.containers.supervisor import supervise

__all__ = ["single_model"]

# The front end has no option for its address and listens on all interfaces. This library binds it to loopback.
_SHIM = r"""
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <netinet/in.h>
#include <sys/socket.h>
int bind(int fd, const struct sockaddr *address, socklen_t size) {
  static int (*real)(int, const struct sockaddr *, socklen_t);
  if (!real) real = dlsym(RTLD_NEXT, "bind");
  if (address->sa_family == AF_INET && size >= sizeof(struct sockaddr_in)) {
    struct sockaddr_in local = *(const struct sockaddr_in *)address;
    if (local.sin_addr.s_addr == htonl(INADDR_ANY)) local.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return real(fd, (struct sockaddr *)&local, sizeof local);
  }
  return real(fd, address, size);
}
"""
_WHERE = (
    "import importlib.util, json, sys, sysconfig; spec = importlib.util.find_spec('pytriton'); "
    "print(json.dumps([spec.submodule_search_locations[0], sysconfig.get_path('purelib'), "
    "'%d.%d' % sys.version_info[:2]]))"
)


def single_model(repository: Path, name: str | None) -> str:
    """Return the name of the model that a single-model endpoint serves, as the program `serve` of the image does.

    Args:
        repository: Folder of the extracted archive.
        name: Value of SAGEMAKER_TRITON_DEFAULT_MODEL_NAME; None without it.

    Returns:
        Name of a folder in the repository.

    Raises:
        SystemExit: The image does not start with this archive.
    """
    if (repository / "config.pbtxt").exists():
        sys.exit(
            "Incorrect directory structure: config.pbtxt is at the top of the archive. Triton's image serves such an "
            "archive on multi-model endpoints only; put the files into a folder with the name of the model."
        )
    folders = sorted(one.name for one in repository.iterdir() if one.is_dir())
    if name is not None:
        if name not in folders:
            sys.exit(f"SAGEMAKER_TRITON_DEFAULT_MODEL_NAME is {name}, and the archive has no folder of that name.")
        return name
    if len(folders) != 1:
        sys.exit(
            f"The archive has {len(folders)} model folders ({', '.join(folders)}). Set "
            "SAGEMAKER_TRITON_DEFAULT_MODEL_NAME to the name of the model to serve."
            if folders
            else "The archive has no model folder."
        )
    return folders[0]


def main() -> int:
    """Run the server until SIGTERM or end of standard input; return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", required=True, help="interpreter of the environment with nvidia-pytriton")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--directory", type=Path, required=True, help="working directory of the container")
    parser.add_argument("--model", type=Path, help="extracted archive of a single-model endpoint")
    given = parser.parse_args()
    found = subprocess.run([given.python, "-c", _WHERE], capture_output=True, text=True, check=False)
    if found.returncode:
        sys.exit(
            f"nvidia-pytriton is not installed for {given.python}: {found.stderr.strip()}\n"
            f"  {given.python} -m pip install nvidia-pytriton==0.7.0 'numpy<2'"
        )
    package, packages, version = json.loads(found.stdout)
    server, folder = Path(package) / "tritonserver", given.directory
    backends = folder / "backends" / "python"
    (folder / "empty").mkdir(parents=True, exist_ok=True)
    shutil.copytree(server / "backends" / "python", backends, dirs_exist_ok=True)
    shutil.copy2(server / "python_backend_stubs" / version / "triton_python_backend_stub", backends)
    shim = folder / "loopback.so"
    (folder / "loopback.c").write_text(_SHIM)
    compiled = subprocess.run(
        ["cc", "-shared", "-fPIC", "-O1", "-o", shim, folder / "loopback.c", "-ldl"],
        capture_output=True,
        text=True,
        check=False,
    )
    if compiled.returncode:
        sys.exit(f"a C compiler is needed to bind Triton to the loopback interface: {compiled.stderr.strip()}")
    environment = {
        **os.environ,
        "LD_LIBRARY_PATH": f"{packages}/nvidia_pytriton.libs",
        "LD_PRELOAD": str(shim),
        "PATH": os.pathsep.join([str(Path(given.python).parent), os.environ.get("PATH", "")]),
        "PYTHONPATH": packages,
        "SAGEMAKER_TRITON_PING_MODE": os.environ.get("SAGEMAKER_TRITON_OVERRIDE_PING_MODE", "live"),
    }
    options: dict[str, object] = {
        "allow-sagemaker": "true",
        "sagemaker-port": given.port,
        "allow-http": "false",
        "allow-grpc": "false",
        "allow-metrics": "false",
        "model-control-mode": "explicit",
        "model-repository": given.model or folder / "empty",
        "model-namespacing": "true",
        "backend-directory": folder / "backends",
    }
    if given.model is not None:
        name = single_model(given.model, os.environ.get("SAGEMAKER_TRITON_DEFAULT_MODEL_NAME"))
        environment["SAGEMAKER_TRITON_DEFAULT_MODEL_NAME"] = options["load-model"] = name
        environment["SAGEMAKER_TRITON_PING_MODE"] = os.environ.get("SAGEMAKER_TRITON_OVERRIDE_PING_MODE", "ready")
    words = [f"--{name}={value}" for name, value in options.items()]
    return supervise([str(server / "bin" / "tritonserver"), "--disable-auto-complete-config", *words], environment)


if __name__ == "__main__":
    sys.exit(main())
