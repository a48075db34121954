import os
import sys
from types import SimpleNamespace

import pytest
import torch

from anchor.device import resolve_device
from anchor.errors import DeviceError
from anchor.serving.serve import choose_precision
from launch.accelerators import resolve_machine

CPU = {"name": "cpu", "devices": 1, "nodes": 1, "precision": "32-true"}


def test_one_process_needs_no_strategy_and_two_train_together():
    assert resolve_machine(CPU).trainer_arguments(by_hand=False)["strategy"] == "auto"
    two = resolve_machine({**CPU, "devices": 2})
    assert two.world_size == 2
    assert two.trainer_arguments(by_hand=False)["strategy"] == "ddp"
    assert "find_unused" in two.trainer_arguments(by_hand=True)["strategy"]


@pytest.mark.parametrize(("flags", "computes"), [("fma avx avx2", False), ("avx512_bf16", True), ("amx_bf16", True)])
def test_bfloat16_is_for_processors_that_have_it_and_elsewhere_it_is_said(flags, computes, monkeypatch, tmp_path):
    (tmp_path / "cpuinfo").write_text(f"flags\t\t: fpu {flags}\n")
    monkeypatch.setattr("anchor.device.CPU_FACTS", tmp_path / "cpuinfo")
    assert resolve_machine({**CPU, "precision": "auto"}).precision == ("bf16-mixed" if computes else "32-true")
    assert choose_precision(torch.device("cpu"), "auto") == ("bfloat16" if computes else "float32")
    asked = resolve_machine({**CPU, "precision": "bf16-mixed"})
    assert asked.precision == "bf16-mixed"
    assert (asked.warning is None) == computes
    assert computes or "this processor has no bfloat16 units" in asked.warning
    assert resolve_machine({**CPU, "precision": "32-true"}).warning is None


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA card")
def test_a_card_that_is_absent_is_an_error_and_auto_is_the_cpu():
    with pytest.raises(DeviceError, match="sees no CUDA card"):
        resolve_machine({**CPU, "name": "cuda", "devices": "auto"})
    assert resolve_machine({**CPU, "name": "auto", "devices": "auto"}).name == "cpu"
    with pytest.raises(DeviceError, match="no CUDA card"):
        resolve_device("cuda")
    assert resolve_device("auto").type == "cpu"


@pytest.fixture
def simulator(monkeypatch):
    """A stand-in for the simulated torch_mlu, which is told once how many cards there are: as it is imported."""
    for name in ("ANCHOR_MLU_SIM", "RANK", "PYTHONPATH"):
        monkeypatch.setenv(name, "")  # so that all come back after the test
        monkeypatch.delenv(name)

    def load():
        if "torch_mlu" not in sys.modules:
            module = SimpleNamespace(is_simulated=True, cards=int(os.environ["ANCHOR_MLU_SIM"]))
            module.visible = SimpleNamespace(visible_cards=range)
            monkeypatch.setitem(sys.modules, "torch_mlu", module)
        return sys.modules["torch_mlu"]

    monkeypatch.setattr("launch.mlu_sim.activate", lambda: os.environ.update(PYTHONPATH="site"))
    monkeypatch.setattr("launch.mlu.library.load", load)
    monkeypatch.setattr("launch.mlu.library.cards", lambda: load().cards)
    monkeypatch.setattr("launch.mlu.library.card_name", lambda: "MLU590-M9")
    return load


@pytest.mark.parametrize("numbers", [(1, 2), (2, 1)])
def test_each_job_of_a_sweep_has_its_own_simulated_cards(numbers, simulator):
    for number in numbers:
        assert resolve_machine({**CPU, "name": "mlu_sim", "devices": number}).devices == number
        assert not {"ANCHOR_MLU_SIM", "PYTHONPATH"} & os.environ.keys()
    assert resolve_machine({**CPU, "name": "mlu_sim", "devices": "auto"}).devices == 2
    assert resolve_machine({**CPU, "name": "auto", "devices": "auto"}).name != "mlu"
    with pytest.raises(DeviceError, match="torch_mlu is not installed"):
        resolve_machine({**CPU, "name": "mlu"})


@pytest.mark.parametrize("name", ["RANK", "ANCHOR_MLU_SIM"])
def test_a_rank_and_the_users_word_keep_their_number_of_simulated_cards(name, simulator, monkeypatch):
    monkeypatch.setenv(name, "2")
    resolve_machine({**CPU, "name": "mlu_sim", "devices": 2})
    assert (os.environ["ANCHOR_MLU_SIM"], os.environ["PYTHONPATH"], simulator().cards) == ("2", "site", 2)
    with pytest.raises(DeviceError, match=r"this machine shows 2 MLU cards .ANCHOR_MLU_SIM=2"):
        resolve_machine({**CPU, "name": "mlu_sim", "devices": 3})


@pytest.mark.parametrize(("options", "says"), [({"name": "tpu"}, "unknown"), ({"devices": 0}, "at least 1")])
def test_machines_that_cannot_be(options, says):
    with pytest.raises(DeviceError, match=says):
        resolve_machine({**CPU, **options})
