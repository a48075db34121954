"""What a wheel carries: built, installed alone in a clean environment, and run from an empty folder."""

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOPS = ("anchor", "conf", "datamodules", "launch", "lightning_modules")
SUFFIXES = (".py", ".yaml", ".h", ".cpp")
NO_TRAINER = ("lightning", "pytorch_lightning", "lightning_fabric", "hydra", "omegaconf", "wandb", "torchmetrics")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    tree = tmp_path_factory.mktemp("tree")
    for name in ("pyproject.toml", "README.md"):
        (tree / name).write_bytes((ROOT / name).read_bytes())
    for path in sorted(path for top in TOPS for path in (ROOT / top).rglob("*") if path.suffix in SUFFIXES):
        target = tree / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    words = ["wheel", ".", "--no-deps", "--no-build-isolation", "--quiet", "--wheel-dir", "dist"]
    done = subprocess.run([sys.executable, "-m", "pip", *words], cwd=tree, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return next((tree / "dist").glob("*.whl"))


def make_environment(folder, wheel, without=()):
    """A clean environment with the wheel alone, which sees this one's dependencies except those ``without``."""
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    words = ["--python", str(python), "install", "--no-deps", "--no-index", "--quiet", str(wheel)]
    done = subprocess.run([sys.executable, "-m", "pip", *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    seen = folder / "dependencies"
    seen.mkdir()
    for path in Path(sysconfig.get_path("purelib")).iterdir():
        name = path.name.replace("-", "_").split(".")[0]
        ours = path.name.startswith(("virtual_anchor", "__editable__")) or path.suffix == ".pth"
        if not ours and not any(name == other or name.startswith(f"{other}_") for other in without):
            (seen / path.name).symlink_to(path)
    site = next((folder / "lib").glob("python*/site-packages"))
    (site / "dependencies.pth").write_text(f"{seen}\n")
    return folder / "bin" / "anchor"


def run(command, *words, cwd, status=0):
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    environment["OMP_NUM_THREADS"] = "1"
    done = subprocess.run(
        [str(command), *map(str, words)], cwd=cwd, capture_output=True, text=True, timeout=300, env=environment
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_wheel_has_every_module_and_configuration_and_nothing_else(wheel):
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    wanted = {
        path.relative_to(ROOT).as_posix().replace("conf/", "anchor/conf/", 1)
        if top == "conf"
        else path.relative_to(ROOT).as_posix()
        for top in TOPS
        for path in (ROOT / top).rglob("*")
        if path.suffix in SUFFIXES
    }
    assert names == wanted


def test_an_installed_wheel_trains_from_an_empty_folder(wheel, tmp_path):
    anchor = make_environment(tmp_path / "env", wheel)
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "GeneratorModule" in run(anchor, "train", "--cfg", "job", "experiment=generator", cwd=empty)
    assert not list(empty.iterdir())
    place = run(tmp_path / "env" / "bin" / "python", "-c", "import anchor; print(anchor.__file__)", cwd=empty)
    assert place.startswith(str(tmp_path))
    assert "virtual-anchor" not in run(anchor, "check", cwd=empty)
    small = ["datamodule.speakers=3", "datamodule.val_speakers=1", "datamodule.seconds=1.2", "accelerator=cpu"]
    searched = ["-m", "hydra/sweeper=optuna", "hydra.sweeper.n_trials=1", "module.lr=interval(1e-3,2e-3)"]
    one_step = ["experiment=syncnet", *small, "trainer.max_steps=1"]
    assert "best: job 0" in run(anchor, "train", *searched, *one_step, "hydra.sweep.dir=search", cwd=empty)
    printed = run(anchor, "train", *one_step, "run_dir=run", cwd=empty)
    assert "syncnet done" in printed
    assert (empty / "run" / "checkpoints" / "last.ckpt").is_file()


def test_inference_runs_where_lightning_hydra_and_wandb_are_not_installed(wheel, tmp_path, data_dir):
    import torch

    from anchor.models import LipGenerator, describe

    anchor = make_environment(tmp_path / "env", wheel, without=NO_TRAINER)
    net = LipGenerator()
    weights = {f"net.{key}": value for key, value in net.state_dict().items()}
    described = {"net": describe(net), "stage": "generator"}
    torch.save({"state_dict": weights, "hyper_parameters": described}, tmp_path / "last.ckpt")
    run(anchor, "export", f"checkpoint={tmp_path / 'last.ckpt'}", f"out={tmp_path / 'exported'}", cwd=tmp_path)
    face = data_dir / "data" / "clips" / "g01_360x288_mpeg1.mpg"
    for checkpoint in (tmp_path / "exported", tmp_path / "exported" / "model.onnx"):
        out = tmp_path / f"{checkpoint.stem}.mp4"
        words = [f"face={face}", f"speech={face}", f"checkpoint={checkpoint}", f"out={out}", "device=cpu"]
        assert "75 frames" in run(anchor, "infer", *words, cwd=tmp_path)
        assert out.stat().st_size > 10_000
    printed = run(anchor, "check", cwd=tmp_path, status=2)
    assert "lightning" in printed
    assert "missing" in printed
