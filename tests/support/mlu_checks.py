"""Checks of what two simulated cards compute, in one process, for a backend belongs to a whole process.

``python mlu_checks.py`` prints a JSON object: each check's name with null, or with what it raised; those of
``mlu_card_checks.py`` are among them.
"""

import copy
import io
import json
import sys
import traceback
import warnings

import mlu_card_checks
import torch
from mlu_card_checks import CARD, raises
from torch import nn
from torch.nn import functional as F

from anchor.models import LipGenerator, SyncNet


def small_networks():
    torch.manual_seed(0)
    expert = SyncNet(image_size=32, width=2, embedding_size=8)
    generator = LipGenerator(image_size=32, widths=(4, 6, 8), strides=(2, 2, 2), speech_width=2, embedding_size=8)
    return {"expert": expert, "generator": generator}


def step(net, device, inputs, **autocast):
    """Three AdamW steps of a network on a device; its loss, its weights and its last gradients on the CPU."""
    net = copy.deepcopy(net).to(device)
    optimizer = torch.optim.AdamW(net.parameters(), 1e-3)
    for _ in range(3):
        optimizer.zero_grad()
        with torch.autocast(device.type, **(autocast or {"enabled": False})):
            out = net(*(value.to(device) for value in inputs))
            loss = sum(part.float().square().mean() for part in (out if isinstance(out, tuple) else (out,)))
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
    grads = [parameter.grad.cpu() for parameter in net.parameters() if parameter.grad is not None]
    return loss.item(), [value.cpu() for value in net.state_dict().values()], grads


def network_inputs():
    draw = torch.Generator().manual_seed(1)
    return {
        "expert": (torch.rand(3, 5, 3, 16, 32, generator=draw), torch.rand(3, 1, 80, 16, generator=draw)),
        "generator": (torch.rand(4, 6, 32, 32, generator=draw), torch.rand(4, 1, 80, 16, generator=draw)),
    }


def check_networks_step_as_on_the_cpu():
    inputs = network_inputs()
    for name, net in small_networks().items():
        ours, theirs = step(net, CARD, inputs[name]), step(net, torch.device("cpu"), inputs[name])
        assert ours[0] == theirs[0], name
        for left, right in zip(ours[1] + ours[2], theirs[1] + theirs[2], strict=True):
            assert torch.equal(left, right), name


def check_networks_step_in_mixed_precision():
    inputs = network_inputs()
    for dtype in (torch.bfloat16, torch.float16):
        for name, net in small_networks().items():
            loss, weights, _ = step(net, CARD, inputs[name], dtype=dtype)
            exact = step(net, CARD, inputs[name])[0]
            assert abs(loss - exact) < 0.05 * abs(exact) + 0.01, (name, dtype, loss, exact)
            assert all(value.isfinite().all() for value in weights)


def check_devices_do_not_mix():
    here, there, host = torch.ones(2, device=CARD), torch.ones(2, device="mlu:1"), torch.ones(2)
    words = "Expected all tensors to be on the same device"
    raises(words, lambda: here + host)
    raises(words, lambda: here + there)
    raises(words, lambda: torch.cat([here, host]))
    raises("same device", lambda: F.conv2d(torch.ones(1, 1, 3, 3, device=CARD), torch.ones(1, 1, 3, 3)))
    raises("same device", lambda: nn.Linear(2, 2)(here))
    assert (here + torch.tensor(1.0)).tolist() == [2, 2]  # a CPU scalar is welcome
    assert here[torch.tensor([0])].device == CARD  # and so are indices
    raises("invalid device ordinal 2", lambda: torch.ones(2, device="mlu:2"))
    raises("invalid device ordinal 2", lambda: torch.mlu.set_device(2))


def check_sixty_four_bits_are_thirty_two():
    third = torch.tensor([1 / 3, 1e-40], dtype=torch.float64)
    card = third.to(CARD)
    assert card.dtype == torch.float64
    assert torch.equal(card.cpu(), third.float().double())
    assert not torch.equal(card.cpu(), third)
    assert card.add(1e-9).cpu()[0].item() == torch.tensor(1 / 3).double().add(1e-9).float().item()
    filled = torch.zeros(2, dtype=torch.float64, device=CARD).fill_(0.1)
    assert filled[0].item() == torch.tensor(0.1).item()
    torch._foreach_add_([filled], 1e-12)
    assert filled[0].item() == torch.tensor(0.1).item()
    whole = torch.tensor([2**40 + 7, -1, 2**31], device=CARD)
    assert whole.tolist() == [7, -1, -(2**31)]
    assert (torch.tensor([2**30], device=CARD) * 4).tolist() == [0]
    assert torch.arange(5, device=CARD).tolist() == [0, 1, 2, 3, 4]
    assert torch.full((1,), 1j / 3, dtype=torch.complex128, device=CARD).imag.item() == torch.tensor(1 / 3).item()


def check_random_numbers_are_the_cards_own():
    torch.manual_seed(7)
    ours, theirs = torch.rand(100, device=CARD), torch.rand(100)
    assert not torch.equal(ours.cpu(), theirs)
    assert 0.3 < ours.mean().item() < 0.7
    torch.manual_seed(7)
    assert torch.equal(ours, torch.rand(100, device=CARD))
    states = torch.mlu.get_rng_state_all()
    assert len(states) == 2
    one, two = torch.rand(3, device=CARD), torch.randn(3, device="mlu:1")
    torch.mlu.set_rng_state_all(states)
    assert torch.equal(one, torch.rand(3, device=CARD))
    assert torch.equal(two, torch.randn(3, device="mlu:1"))
    masks = []  # dropout's operator takes no generator
    for _ in range(2):
        torch.mlu.set_rng_state_all(states)
        masks.append(F.dropout(torch.ones(100, device=CARD), 0.5))
    assert torch.equal(*masks)
    torch.manual_seed(7)
    theirs = torch.rand(1)
    torch.manual_seed(7)
    F.dropout(torch.ones(100, device=CARD), 0.5)
    assert torch.equal(torch.rand(1), theirs)  # and leaves the CPU's numbers alone
    state = torch.mlu.get_rng_state(1)
    torch.mlu.manual_seed_all(3)
    assert torch.mlu.initial_seed() == 3
    torch.mlu.set_rng_state(state, 1)
    assert torch.equal(torch.mlu.get_rng_state(1), state)
    own = torch.Generator(device=CARD).manual_seed(5)
    drawn = torch.randperm(10, device=CARD, generator=own)
    assert torch.equal(drawn, torch.randperm(10, device=CARD, generator=own.manual_seed(5)))
    assert own.device == CARD
    raises("RNG state", lambda: torch.mlu.set_rng_state(torch.zeros(3, dtype=torch.uint8)))


def check_autocast_and_scaler():
    linear, x = nn.Linear(4, 4).to(CARD), torch.rand(2, 4, device=CARD)
    for dtype in (torch.float16, torch.bfloat16):
        with torch.autocast("mlu", dtype=dtype):
            out = linear(x)
            assert out.dtype == dtype
            assert F.mse_loss(out, x).dtype == torch.float32
            assert torch.exp(out).dtype == torch.float32
            raises("unsafe to autocast", lambda: F.binary_cross_entropy(x, x))
            assert F.binary_cross_entropy_with_logits(x, x).dtype == torch.float32
    assert F.binary_cross_entropy(x, x).dtype == torch.float32
    optimizer = torch.optim.SGD(linear.parameters(), 0.1)
    scaler = torch.amp.GradScaler("mlu", init_scale=1024.0)
    with torch.autocast("mlu", dtype=torch.float16):
        loss = linear(x).float().mean()
    scaler.scale(loss).backward()
    before = linear.weight.clone()
    scaler.step(optimizer)
    scaler.update()
    assert not torch.equal(before, linear.weight)
    assert scaler.get_scale() == 1024
    linear.weight.grad.fill_(float("inf"))
    before = linear.weight.clone()
    scaler.step(optimizer)
    scaler.update()
    assert torch.equal(before, linear.weight)
    assert scaler.get_scale() == 512


def check_optimizers_of_every_kind():
    for kind in (torch.optim.AdamW, torch.optim.Adam, torch.optim.SGD):
        results = []
        for device, options in [("cpu", {}), *((CARD, given) for given in ({}, {"foreach": True}, {"fused": True}))]:
            torch.manual_seed(0)
            net = nn.Linear(3, 3).to(device)
            optimizer = kind(net.parameters(), lr=0.1, **options)
            for _ in range(2):
                net(torch.ones(1, 3, device=device)).sum().backward()
                optimizer.step()
            results.append(net.weight.detach().cpu())
        for result in results[1:]:
            torch.testing.assert_close(result, results[0], rtol=1e-6, atol=1e-7)


def check_files_move_between_devices():
    net = nn.Linear(2, 2).to("mlu:1")
    optimizer = torch.optim.AdamW(net.parameters())
    net(torch.ones(1, 2, device="mlu:1")).sum().backward()
    optimizer.step()
    file = io.BytesIO()
    torch.save({"net": net.state_dict(), "optimizer": optimizer.state_dict()}, file)
    for place, wanted in ((None, "mlu:1"), ("cpu", "cpu"), ("mlu:0", "mlu:0")):
        file.seek(0)
        loaded = torch.load(file, map_location=place, weights_only=True)
        assert str(loaded["net"]["weight"].device) == wanted
        assert torch.equal(loaded["net"]["weight"].cpu(), net.weight.detach().cpu())
        assert str(loaded["optimizer"]["state"][0]["exp_avg"].device) == wanted


def check_views_writes_and_resizes():
    square = torch.zeros(4, 4, device=CARD)
    square[1:3, ::2] += 1
    square.t().mul_(2)
    assert square.sum().item() == 8
    assert square.data_ptr() == square.view(16).data_ptr() == square.reshape(2, 8).data_ptr()
    assert torch.nonzero(square).shape == (4, 2)
    assert torch.sort(torch.tensor([3, 1, 2], device=CARD)).values.tolist() == [1, 2, 3]
    out = torch.empty(0, device=CARD)
    torch.add(torch.ones(3, device=CARD), 1, out=out)
    assert out.tolist() == [2, 2, 2]
    held = torch.ones(4, device=CARD)
    held.untyped_storage().resize_(0)
    held.untyped_storage().resize_(16)
    held.fill_(2)
    assert held.tolist() == [2, 2, 2, 2]
    assert torch.empty(0, device=CARD).sum().item() == 0
    turned = torch.full((2, 2), 1 + 2j, device=CARD).conj()
    assert (turned + 1).tolist() == [[2 - 2j, 2 - 2j], [2 - 2j, 2 - 2j]]
    assert turned.imag.tolist() == [[-2, -2], [-2, -2]]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert F.mse_loss(torch.ones(2, 2, device=CARD), torch.zeros(2, 2, device=CARD)).item() == 1


def check_recurrent_networks_and_attention():
    torch.manual_seed(0)
    for kind in (nn.LSTM, nn.GRU):
        net, x = kind(4, 5), torch.rand(3, 2, 4)
        on_card = copy.deepcopy(net).to(CARD)
        net(x)[0].sum().backward()
        on_card(x.to(CARD))[0].sum().backward()
        for left, right in zip(on_card.parameters(), net.parameters(), strict=True):
            torch.testing.assert_close(left.grad.cpu(), right.grad, rtol=1e-5, atol=1e-6)
    query = torch.rand(1, 2, 4, 8, device=CARD, requires_grad=True)
    F.scaled_dot_product_attention(query, query, query).sum().backward()
    assert query.grad.isfinite().all()


def main():
    torch.set_num_threads(1)
    results = {}
    for name, check in [*vars(mlu_card_checks).items(), *globals().items()]:
        if name.startswith("check_"):
            try:
                check()
                results[name] = None
            except Exception:  # the test shows it
                results[name] = traceback.format_exc()
    json.dump(results, sys.stdout)


if __name__ == "__main__":
    main()
