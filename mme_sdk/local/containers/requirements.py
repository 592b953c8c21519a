"""The `requirements.txt` of a model, and the virtual environment that the host makes from it.

`HostingSettings(install_requirements=True)` lets the host make the environment before the load. It is the symbolic link
`environment` beside the folder of the model.
"""

from __future__ import annotations

from pathlib import Path

__all__ = ["environment", "file_of", "hint", "link_of", "site_packages"]

NAME = "requirements.txt"


def file_of(directory: Path) -> Path | None:
    """Return `code/requirements.txt` of a model, else `requirements.txt` at the top, else None.

    Args:
        directory: Folder of the extracted archive.
    """
    files = (directory / "code" / NAME, directory / NAME)
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
    file = file_of(directory)
    listed = NAME if file == directory / NAME else f"code/{NAME}"
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
