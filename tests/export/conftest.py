import pytest
import torch

from anchor.models import describe


def stir(net):
    """``net`` with norms that do something, so that folding them can go wrong."""
    dice = torch.Generator().manual_seed(5)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            for tensor, low, high in ((module.running_mean, -0.3, 0.3), (module.running_var, 0.5, 2.0)):
                tensor.copy_(torch.rand(tensor.shape, generator=dice) * (high - low) + low)
            module.weight.data = torch.rand(module.weight.shape, generator=dice) + 0.3
            module.bias.data = torch.rand(module.bias.shape, generator=dice) - 0.5
    return net


@pytest.fixture
def save_checkpoint(tmp_path):
    """A checkpoint as a stage leaves it, with what Lightning adds."""

    def save(net, name="last.ckpt", **more):
        weights = {f"net.{key}": value for key, value in stir(net).state_dict().items()}
        score = {"monitor": "val/l1", "current_score": torch.tensor(0.0625), "best_model_score": torch.tensor(0.05)}
        progress = {"epoch_loop.batch_progress": {"total": {"completed": 40}}}
        checkpoint = {
            "state_dict": weights,
            "hyper_parameters": {"stage": "quality", "net": describe(net)},
            "global_step": 80,
            "loops": {"fit_loop": progress},
            "callbacks": {"ModelCheckpoint": score, "last": {"monitor": None}},
        }
        for key, extra in more.items():
            checkpoint["hyper_parameters"][key] = describe(extra)
            weights.update({f"{key}.{name}": value for name, value in extra.state_dict().items()})
        path = tmp_path / name
        torch.save(checkpoint, path)
        return path

    return save
