import pytest
import torch

from anchor.device import resolve_device
from anchor.errors import DeviceError
from launch.accelerators import resolve_machine

CPU = {"name": "cpu", "devices": 1, "nodes": 1, "precision": "32-true"}


def test_one_process_needs_no_strategy_and_two_train_together():
    assert resolve_machine(CPU).trainer_arguments(by_hand=False)["strategy"] == "auto"
    two = resolve_machine({**CPU, "devices": 2})
    assert two.world_size == 2
    assert two.trainer_arguments(by_hand=False)["strategy"] == "ddp"
    assert "find_unused" in two.trainer_arguments(by_hand=True)["strategy"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA card")
def test_a_card_that_is_absent_is_an_error_and_auto_is_the_cpu():
    with pytest.raises(DeviceError, match="sees no CUDA card"):
        resolve_machine({**CPU, "name": "cuda", "devices": "auto"})
    assert resolve_machine({**CPU, "name": "auto", "devices": "auto"}).name == "cpu"
    with pytest.raises(DeviceError, match="no CUDA card"):
        resolve_device("cuda")
    assert resolve_device("auto").type == "cpu"


@pytest.mark.parametrize(("options", "says"), [({"name": "tpu"}, "unknown"), ({"devices": 0}, "at least 1")])
def test_machines_that_cannot_be(options, says):
    with pytest.raises(DeviceError, match=says):
        resolve_machine({**CPU, **options})
