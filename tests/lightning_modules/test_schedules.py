import pytest
import torch
from small_runs import Data, fit

from lightning_modules import SyncNetModule
from lightning_modules.schedules import Schedule, as_schedule


def test_the_learning_rate_warms_up_and_comes_down():
    factor = Schedule().factor(10, 100)
    assert factor(0) == pytest.approx(0.1)
    assert factor(9) > 0.95
    assert factor(100) == pytest.approx(0.02)
    assert Schedule().factor(10, float("inf"))(10_000) == 1


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("constant", [0.5, 1, 1, 1, 1]),
        ("linear", [0.5, 0.9, 0.8, 0.7, 0.1]),
        ("exponential", [0.5, 0.5**0.25, 0.5**0.5, 0.5**0.75, 0.5**2.5]),
        ("step", [0.5, 1, 1, 1, 0.25]),
    ],
)
def test_each_shape_by_its_numbers(name, values):
    factor = as_schedule({"name": name, "floor": 0.1, "gamma": 0.5, "every_steps": 4}).factor(2, 10)
    assert [factor(step) for step in (0, 1, 2, 3, 10)] == pytest.approx(values)


def test_every_shape_ends_where_the_run_ends(small_expert, numbered_clips):
    module = SyncNetModule(net=small_expert, lr=1e-3, warmup_steps=0, schedule={"name": "linear", "floor": 0.25})
    seen = []
    source = numbered_clips(lengths=(12, 14, 13, 20))
    module.on_train_batch_start = lambda *_: seen.append(module.optimizers().param_groups[0]["lr"])
    options = {"steps": -1, "max_epochs": 2, "accumulate_grad_batches": 2, "val_check_interval": 100}
    fit(module, Data(source), **options)  # two epochs of 7 batches: 4 steps each
    assert seen[0] == pytest.approx(1e-3)
    assert module.optimizers().param_groups[0]["lr"] == pytest.approx(0.25e-3)
    assert seen[-1] == pytest.approx(0.25e-3, rel=0.01) or seen[-1] > 0.25e-3
    assert len(set(seen)) == 7  # 8 steps, of which the last two have the floor
    assert torch.isfinite(torch.tensor(seen)).all()
