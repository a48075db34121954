"""The optimizer's step as one kernel: on a CPU, the same step, nobody's choice overruled."""

import pytest
import torch

from lightning_modules.fused import fuse


def weights(device="cpu"):
    torch.manual_seed(0)
    parameters = [torch.nn.Parameter(torch.randn(shape, device=device)) for shape in ((64, 32), (64,))]
    for parameter in parameters:
        parameter.grad = torch.ones_like(parameter) * 0.1
    return parameters


def flags(optimizer):
    return [group["fused"] for group in optimizer.param_groups]


def test_the_step_is_the_same():
    by_loop, by_kernel = weights(), weights()
    loop, kernel = (torch.optim.AdamW(each, lr=1e-2, weight_decay=0.1) for each in (by_loop, by_kernel))
    fuse(kernel)
    assert flags(kernel) == [True]
    for _ in range(5):
        loop.step()
        kernel.step()
    for left, right in zip(by_loop, by_kernel, strict=True):
        torch.testing.assert_close(left, right, rtol=1e-5, atol=1e-6)


def test_what_somebody_chose_and_what_is_not_on_a_cpu_stays():
    chosen = torch.optim.AdamW(weights(), fused=False)
    elsewhere = torch.optim.AdamW(weights("meta"))
    without = torch.optim.RAdam(weights())
    for optimizer in (chosen, elsewhere, without):
        fuse(optimizer)
    assert flags(chosen) == [False]
    assert flags(elsewhere) == [None]
    assert "fused" not in without.param_groups[0]


@pytest.mark.parametrize("saved", [True, False, None])
def test_a_loaded_state_does_not_bring_its_flag(saved):
    other = torch.optim.AdamW(weights())
    other.step()
    state = other.state_dict()
    state["param_groups"][0]["fused"] = saved
    here, elsewhere = torch.optim.AdamW(weights()), torch.optim.AdamW(weights(), fused=False)
    for optimizer, own in ((here, True), (elsewhere, False)):
        fuse(optimizer)
        optimizer.load_state_dict(state)
        assert flags(optimizer) == [own]
        optimizer.step()


def test_lightning_may_clip_it():
    optimizer = torch.optim.AdamW(weights())
    fuse(optimizer)
    assert not getattr(optimizer, "_step_supports_amp_scaling", False)
