"""What the plugin says on a machine without torch_mlu, and what needs no card to be checked."""

import ast
import sys
from pathlib import Path

import lightning as L
import pytest
import torch
from lightning.pytorch.utilities.memory import is_oom_error

import launch.mlu
from anchor.device import has_mlu, resolve_device
from anchor.errors import DeviceError
from launch.accelerators import Machine, check_trainer, explain_memory, resolve_machine
from launch.mlu import MLUError, is_out_of_memory, library, teach_lightning, to_cpu, trainer_arguments

CPU = {"name": "cpu", "devices": 1, "nodes": 1, "precision": "32-true", "strategy": "auto"}
# As torch_mlu's two allocators write it, the second over lines.
SHORT = [
    "MLU out of memory. Tried to allocate 1.50 GiB (MLU 0; 47.00 GiB total capacity; 46.1 GiB already allocated)",
    "MLU out of memory. Tried to allocate 20.00 MiB. MLU 3 has a total capacity of 23.69 GiB of which 2 MiB is free.",
]


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Put a torch_mlu of a version, with a module of some text, where Python finds it."""

    def put(version, module="raise ImportError('undefined symbol: _ZN3c10')"):
        info = tmp_path / f"torch_mlu-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: torch_mlu\nVersion: {version}\n")
        (tmp_path / "torch_mlu.py").write_text(module)
        monkeypatch.syspath_prepend(tmp_path)

    yield put
    sys.modules.pop("torch_mlu", None)


@pytest.mark.skipif(library.is_installed(), reason="torch_mlu is installed here")
def test_a_card_without_torch_mlu_is_an_error_and_auto_goes_on():
    with pytest.raises(DeviceError, match="torch_mlu is not installed"):
        resolve_machine({**CPU, "name": "mlu", "devices": "auto"})
    with pytest.raises(MLUError, match="torch_mlu is not installed"):
        trainer_arguments("mlu", 1)
    assert resolve_machine({**CPU, "name": "auto", "devices": "auto", "precision": "auto"}).name in ("cpu", "cuda")
    assert trainer_arguments()["accelerator"] in ("cpu", "cuda")


@pytest.mark.parametrize("name", ["mlu", "auto"])
def test_a_torch_mlu_for_another_torch_is_named_with_both_versions(name, installed):
    installed("1.17.0+torch2.1.0")
    with pytest.raises(DeviceError, match=r"1\.17\.0\+torch2\.1\.0 .*PyTorch 2\.1, and PyTorch 2\."):
        resolve_machine({**CPU, "name": name, "devices": "auto"})


def test_a_torch_mlu_that_cannot_be_imported_is_no_reason_to_take_the_cpu(installed):
    mine = ".".join(torch.__version__.split(".")[:2])
    installed(f"1.22.0+torch{mine}.0")
    for ask in (lambda: resolve_machine({**CPU, "name": "auto", "devices": "auto"}), lambda: resolve_device("auto")):
        with pytest.raises(DeviceError, match=rf"1\.22\.0\+torch{mine}\.0 cannot be imported .*undefined symbol"):
            ask()


def test_a_torch_mlu_without_a_card_is_passed_over_by_auto_alone(installed):
    installed(
        "9.9", "import torch, types\ntorch.mlu = types.SimpleNamespace(device_count=lambda: 0, is_available=bool)"
    )
    try:
        assert not has_mlu()
        assert resolve_machine({**CPU, "name": "auto", "devices": "auto"}).name in ("cpu", "cuda")
        with pytest.raises(DeviceError, match="sees no card"):
            resolve_machine({**CPU, "name": "mlu"})
    finally:
        del torch.mlu


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"devices": 0}, r"devices=0: it must be at least 1"),
        ({"nodes": 0}, r"nodes=0: it must be at least 1"),
        ({"name": "npu"}, "Choose one of auto, mlu, cuda, cpu, mlu_sim"),
        ({"precision": "16-mixed"}, "a CPU trains in 32-true or bf16-mixed"),
        ({"precision": "8-mixed"}, "Choose one of auto, 32-true"),
        ({"strategy": "deepspeed"}, "Choose one of auto, ddp, fsdp, fsdp2"),
        ({"strategy": "fsdp", "devices": 2}, "shards a network over cards, and this is 2 x cpu"),
    ],
)
def test_machines_that_cannot_be_are_answered(options, says):
    with pytest.raises(DeviceError, match=says):
        resolve_machine({**CPU, **options})


@pytest.mark.parametrize("strategy", ["fsdp", "fsdp2"])
def test_what_is_trained_by_hand_cannot_be_sharded(strategy):
    with pytest.raises(DeviceError, match=r"two networks in turns.*strategy=ddp"):
        Machine("cuda", 2, 1, "32-true", strategy).trainer_arguments(by_hand=True)


def test_a_trainer_that_fell_to_something_else_is_found_out():
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = L.Trainer(accelerator="cpu", devices=1, precision="bf16-mixed", **quiet)
    check_trainer(trainer, Machine("cpu", 1, 1, "bf16-mixed"))
    for machine, says in (
        (Machine("mlu", 1, 1, "bf16-mixed"), "would compute on cpu"),
        (Machine("cpu", 1, 1, "32-true"), "would compute in bf16-mixed"),
        (Machine("cpu", 2, 1, "bf16-mixed"), "would have 1 processes"),
    ):
        with pytest.raises(DeviceError, match=says):
            check_trainer(trainer, machine)
    with pytest.raises(MLUError, match="would compute on cpu, and an MLU was asked for"):
        launch.mlu.check_trainer(trainer)


@pytest.mark.parametrize("text", SHORT)
def test_a_card_short_of_memory_is_known_to_lightnings_search_for_a_batch_size(text):
    error = torch.cuda.OutOfMemoryError(text)
    assert is_out_of_memory(error)
    teach_lightning()
    teach_lightning()
    assert is_oom_error(error)
    assert is_oom_error(RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"))
    assert not is_oom_error(RuntimeError("MLU 0: an illegal instruction"))
    assert "short of memory (MLU out of memory. Tried" in explain_memory(error)
    assert explain_memory(RuntimeError("shape mismatch")) is None


def test_what_is_on_the_cpu_is_saved_as_it_is():
    tensor = torch.ones(2)
    state = {"a": [tensor, 1], "b": (tensor, "x"), "c": torch.nn.Linear(1, 1).state_dict()}
    copy = to_cpu(state)
    assert copy["a"][0] is tensor
    assert copy["b"] == (tensor, "x")
    assert copy["c"]._metadata == state["c"]._metadata


def test_the_variable_that_hides_cards_is_the_first_that_torch_mlu_reads(monkeypatch):
    for name in library.VISIBLE:
        monkeypatch.delenv(name, raising=False)
    assert library.hiding_variable() is None
    for name in reversed(library.VISIBLE):
        monkeypatch.setenv(name, "0,1")
        assert library.hiding_variable() == f"{name}=0,1"


def test_the_package_could_leave_the_repository():
    folder = Path(launch.mlu.__file__).parent
    for path in folder.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                own = name == "launch.mlu" or name.startswith("launch.mlu.")
                root = name.split(".")[0]
                assert own or root in {"torch", "lightning"} or root in sys.stdlib_module_names, f"{path}: {name}"
            assert (
                not isinstance(node, ast.Attribute)
                or node.attr != "accelerator"
                or ast.unparse(node) not in ("torch.accelerator",)
            ), f"{path}: torch 2.4 has no torch.accelerator"
