"""tools/packages.py: archives are downloaded once, checked and unpacked whole; a stand-in for npm serves them."""

import hashlib
import os
import shutil
import sys
import tarfile
from pathlib import Path

import pytest

from tools import chosen
from tools.packages import Package


@pytest.fixture
def npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The archive that `npm pack` puts into the folder it runs in; each call leaves a line in `calls`."""
    archive, program = tmp_path / "served.tgz", tmp_path / "bin" / "npm"
    (tmp_path / "hello.txt").write_text("hello")
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(tmp_path / "hello.txt", "package/hello.txt")
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\necho $* >> {tmp_path}/calls\ncp {archive} thing-1.0.tgz\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    return archive


def test_a_package_is_downloaded_once(npm: Path, tmp_path: Path):
    package = Package("npm", "@some/thing", "1.0", sha256=hashlib.sha256(npm.read_bytes()).hexdigest())
    folders = {package.unpacked(tmp_path / "cache") for _ in range(2)}
    assert folders == {tmp_path / "cache/npm/@some-thing-1.0"}
    assert [(path.name, path.read_text()) for path in folders.pop().rglob("*.txt")] == [("hello.txt", "hello")]
    assert (tmp_path / "calls").read_text() == "pack --silent @some/thing@1.0\n"


def test_another_archive_than_the_known_one_is_not_used(npm: Path, tmp_path: Path):
    with pytest.raises(SystemExit, match="thing: npm gave another file than the one that is known"):
        Package("npm", "thing", "1.0", sha256="0" * 64).unpacked(tmp_path / "cache")
    assert not list((tmp_path / "cache/npm").iterdir())


def test_half_a_package_does_not_count(npm: Path, tmp_path: Path):
    whole = npm.read_bytes()
    npm.write_bytes(whole[:60])
    with pytest.raises(EOFError):
        Package("npm", "thing", "1.0").unpacked(tmp_path / "cache")
    npm.write_bytes(whole)
    assert (Package("npm", "thing", "1.0").unpacked(tmp_path / "cache") / "package/hello.txt").is_file()


@pytest.mark.parametrize(
    ("registry", "message"),
    [("npm", "npm is not installed: install Node.js"), ("debian", "apt-get is not installed: this needs Debian")],
)
def test_a_missing_program_is_named(registry: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SystemExit, match=message):
        Package(registry, "thing", "1.0").unpacked(tmp_path)


@pytest.mark.skipif(shutil.which("apt-get") is None, reason="no Debian")
def test_a_debian_package_that_is_not_there_is_told(tmp_path: Path):
    with pytest.raises(SystemExit, match=r"no-such-package-at-all.*apt-get update"):
        Package("debian", "no-such-package-at-all").unpacked(tmp_path)


def test_the_named_modules_write_into_folders_of_their_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "violins").mkdir()
    for name in ("__init__", "_shared", "old_one", "new"):
        (tmp_path / "violins" / f"{name}.py").write_text("def write(folder):\n    (folder / 'made').touch()\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert chosen.modules("violins") == ["new", "old-one"]
    chosen.write_each("violins", tmp_path / "data", ["old-one"])
    assert [path.relative_to(tmp_path / "data").as_posix() for path in tmp_path.glob("data/*/*")] == ["old-one/made"]
    with pytest.raises(SystemExit, match="violins: nothing is called olden-one; did you mean old-one"):
        chosen.write_each("violins", tmp_path / "data", ["olden-one"])
    for module in [name for name in sys.modules if name.partition(".")[0] == "violins"]:
        del sys.modules[module]
