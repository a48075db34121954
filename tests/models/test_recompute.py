import copy

import pytest
import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

from anchor.models import ClassicGenerator, LipGenerator, SyncNet, freeze
from anchor.models.recompute import recompute_activations

NETWORKS = {
    "lip": lambda: LipGenerator(image_size=32, widths=(4, 6, 8), strides=(2, 2, 2), speech_width=2, embedding_size=8),
    "classic": lambda: ClassicGenerator(width=4),
    "expert": lambda: SyncNet(image_size=32, width=8, embedding_size=8),
}


class Alive(TorchDispatchMode):
    """Every storage that an operation made, to see which of them are still held."""

    def __init__(self):
        super().__init__()
        self.made = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, (tuple, list)) else [out]:
            if isinstance(tensor, torch.Tensor):
                reference = StorageWeakRef(tensor.untyped_storage())
                self.made[reference.cdata] = (reference, tensor.untyped_storage().nbytes())
        return out

    def bytes(self):
        return sum(size for reference, size in self.made.values() if not reference.expired())


def inputs_of(net, batch=2):
    if isinstance(net, SyncNet):
        return torch.randn(batch, 5, 3, 16, 32), torch.randn(batch, 1, 80, 16)
    size = net.image_size
    return torch.rand(batch, 6, size, size) * 2 - 1, torch.randn(batch, 1, 80, 16)


def learn(net, inputs):
    """Bytes that wait for the backward, then its gradients and the state."""
    alive = Alive()
    with alive:
        out = net(*inputs)
        held = alive.bytes()
    out = out if isinstance(out, torch.Tensor) else out[0] + out[1]
    out.square().sum().backward()
    return held, {name: p.grad for name, p in net.named_parameters()}, net.state_dict()


@pytest.mark.parametrize("name", NETWORKS)
def test_less_is_held_and_every_bit_is_the_same(name):
    torch.manual_seed(0)
    net = NETWORKS[name]().train()
    forgetful = copy.deepcopy(net)
    assert recompute_activations(forgetful) > 2
    inputs = inputs_of(net)
    for _ in range(2):
        held, gradients, state = learn(net, inputs)
        less, same_gradients, same_state = learn(forgetful, inputs)
        assert less < 0.7 * held
        assert state.keys() == same_state.keys()
        assert all(torch.equal(state[key], same_state[key]) for key in state)  # running statistics took note once
        for key, gradient in gradients.items():
            assert (gradient is None) == (same_gradients[key] is None)
            assert gradient is None or torch.equal(gradient, same_gradients[key])


def test_frozen_networks_pass_gradients_on():
    torch.manual_seed(0)
    net = freeze(NETWORKS["expert"]())
    forgetful = freeze(copy.deepcopy(net))
    recompute_activations(forgetful)
    before = copy.deepcopy(forgetful.state_dict())
    gradients = []
    for judge in (net, forgetful):
        mouths, mel = inputs_of(net)
        mouths = mouths.mul(0).add(0.1).requires_grad_()
        judge(mouths, mel.mul(0))[0].sum().backward()
        gradients.append(mouths.grad)
    assert torch.equal(*gradients)
    assert all(torch.equal(before[key], value) for key, value in forgetful.state_dict().items())


def test_a_copy_of_a_forgetful_network_is_one_of_its_own():
    net = NETWORKS["lip"]()
    recompute_activations(net)
    twin = copy.deepcopy(net)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.add_(1.0)
    inputs = inputs_of(net)
    assert not torch.equal(twin(*inputs), net(*inputs))
