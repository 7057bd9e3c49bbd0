"""Where names lead: onto the disk, into a package and never out of it, or to a hub."""

import sys
from pathlib import Path

import pytest

from luthier.data.places import locate, public_name
from luthier.errors import DataError


def place(name: str) -> Path | None:
    return locate(name, where="data.train", error=DataError)


def refusal(name: str) -> str:
    with pytest.raises(DataError) as caught:
        place(name)
    return str(caught.value)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package whose import would fail, with one file in it and a secret beside it."""
    root = tmp_path / "some_corpus"
    (root / "data").mkdir(parents=True)
    (root / "__init__.py").write_text("raise RuntimeError('imported')")
    (root / "data" / "train.csv").write_text("text,label\n")
    (tmp_path / "secret.csv").write_text("text,label\n")
    monkeypatch.syspath_prepend(tmp_path)
    return root


def test_a_file_in_a_package_is_found_and_the_package_never_imported(package: Path) -> None:
    assert place("package:some_corpus/data/train.csv") == package / "data" / "train.csv"
    assert place("package:some_corpus/data") == package / "data"
    assert place("package:some_corpus") == package
    assert "some_corpus" not in sys.modules


@pytest.mark.parametrize("inside", ["../secret.csv", "data/../../secret.csv", "data/link", "/etc/passwd"])
def test_no_name_leads_out_of_its_package(package: Path, inside: str) -> None:
    (package / "data" / "link").symlink_to(package.parent / "secret.csv")
    assert refusal(f"package:some_corpus/{inside}").endswith("leads out of its package")


def test_a_package_that_is_not_there_is_refused_with_the_command_that_gets_it() -> None:
    message = "data.train: no package no_such_corpus is installed here (pip install no-such-corpus)"
    assert refusal("package:no_such_corpus/a.csv") == message


@pytest.mark.parametrize("name", ["package:", "package:/a.csv", "package:a.b/c", "package:__main__/a", "package:a b"])
def test_what_names_no_package_is_refused(name: str) -> None:
    assert "no package" in refusal(name)


def test_a_packages_project_name_is_answered_with_its_import_name(package: Path) -> None:
    message = "data.train: no package some-corpus is installed here; did you mean package:some_corpus?"
    assert refusal("package:some-corpus/data/train.csv") == message


def test_a_file_that_is_not_in_the_package_is_refused_with_the_near_one(package: Path) -> None:
    message = "data.train: package some_corpus has no data/trian.csv; did you mean train.csv?"
    assert refusal("package:some_corpus/data/trian.csv") == message


def test_a_path_that_is_there_goes_before_a_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert place("org/name") is None
    (tmp_path / "org" / "name").mkdir(parents=True)
    assert place("org/name") == Path("org/name")


@pytest.mark.parametrize("name", ["a.csv", "./a", "/a/b", "~/no/such", "a/b/c"])
def test_what_can_be_no_hub_id_must_be_there(name: str) -> None:
    assert refusal(name).startswith(f"data.train: there is no {name}")


def test_a_path_is_made_public_by_its_last_part_only(tmp_path: Path) -> None:
    assert public_name(str(tmp_path / "secret" / "train.csv")) == "train.csv"
    assert public_name("package:some_corpus/data") == "package:some_corpus/data"
    assert public_name("org/name") == "org/name"


@pytest.mark.parametrize("name", ["org/model-0.5B", "org/model-v0.1"])
def test_a_hub_id_may_hold_a_version(name: str) -> None:
    assert locate(name, where="model.name", error=DataError) is None
