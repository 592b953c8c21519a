"""The `requirements.txt` of a model, and the virtual environment that the host makes from it.

`HostingSettings(install_requirements=True)` lets the host make the environment before the load. It is the symbolic link
`environment` beside the folder of the model.
"""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

__all__ = ["SUBMITTED", "environment", "file_of", "hint", "link_of", "site_packages"]

NAME = "requirements.txt"
SUBMITTED = "SAGEMAKER_SUBMIT_DIRECTORY"  # the folder of the script, if it is not code/
_MODEL = PurePosixPath("/opt/ml/model")  # the folder of the model on SageMaker


def file_of(directory: Path, submitted: str = "") -> Path | None:
    """Return the `requirements.txt` beside the script of a model: in `submitted`, in `code/` or at the top, else None.

    Args:
        directory: Folder of the extracted archive.
        submitted: Value of SAGEMAKER_SUBMIT_DIRECTORY.
    """
    files = [directory / "code" / NAME, directory / NAME]
    if submitted:
        inside = PurePosixPath(submitted.removeprefix("file://"))
        folder = directory / inside.relative_to(_MODEL) if inside.is_relative_to(_MODEL) else Path(inside)
        files.insert(0, folder / NAME)
    return next((one for one in files if one.is_file()), None)


def link_of(directory: Path) -> Path:
    """Return the path of the symbolic link to the environment of a model.

    Args:
        directory: Folder of the extracted archive.
    """
    return directory.parent / "environment"


def environment(directory: Path) -> Path | None:
    """Return the virtual environment of a model; None without one.

    Args:
        directory: Folder of the extracted archive.
    """
    link = link_of(directory)
    return link.resolve() if link.is_symlink() and link.exists() else None


def site_packages(directory: Path) -> list[str]:
    """Return the folders that contain the packages in the environment of a model; empty without one.

    Args:
        directory: Folder of the extracted archive.
    """
    found = environment(directory)
    return [] if found is None else [str(one) for one in found.glob("lib/python*/site-packages")]


def hint(error: BaseException, directory: Path) -> str:
    """Return what to do about an import that failed; empty for other errors.

    Args:
        error: The error of the script.
        directory: Folder of the extracted archive.
    """
    if not isinstance(error, ImportError):
        return ""
    file = file_of(directory, os.environ.get(SUBMITTED, ""))
    listed = f"code/{NAME}"
    if file is not None:
        listed = str(file.relative_to(directory)) if file.is_relative_to(directory) else f"{NAME} of {SUBMITTED}"
    if environment(directory) is not None:
        return f". The packages of {listed} are installed; add the missing package there"
    if file is not None:
        return (
            f". The packages of {listed} are not installed: set HostingSettings(install_requirements=True), or install "
            "the missing package in the environment of the host"
        )
    if isinstance(error, ModuleNotFoundError):
        return (
            f". Install the missing package in the environment of the host, or list it in {listed} and set "
            "HostingSettings(install_requirements=True)"
        )
    return ""
