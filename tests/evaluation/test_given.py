"""Networks that the user gives by path."""

import pytest
import torch
from torch import nn

from anchor.errors import CheckpointError
from anchor.evaluation import evaluate_source
from anchor.evaluation.given import load_given


def test_networks_given_by_path_are_used(tmp_path, minutes, small_generator, save_network):
    class Distance(nn.Module):
        def forward(self, drawn, real):
            return (drawn - real).abs().flatten(1).mean(1)

    class Features(nn.Module):
        def forward(self, pictures):
            return nn.functional.adaptive_avg_pool2d(pictures.float(), 2).flatten(1)

    for net, name in ((Distance(), "lpips.pt"), (Features(), "inception.pt")):
        torch.jit.script(net).save(str(tmp_path / name))
    record = evaluate_source(
        minutes,
        out=tmp_path / "out",
        checkpoint=save_network(small_generator),
        lpips=tmp_path / "lpips.pt",
        inception=tmp_path / "inception.pt",
        protocol=("self", "cross"),
        reader_steps=0,
        films=0,
        device="cpu",
    )
    assert set(record["skipped"]) == {"lse", "identity"}
    assert record["scores"]["self/lpips"] > 0
    assert record["scores"]["self/fid"] > 0
    assert record["films"] == []


def test_a_backbone_that_lacks_layers_is_refused_in_a_sentence(tmp_path):
    torch.save({"features.10.weight": torch.zeros(1)}, tmp_path / "part.pth")
    with pytest.raises(CheckpointError, match=r"lpips=\S+part.pth: its layers are not alex's"):
        load_given(tmp_path / "part.pth", None, None, torch.device("cpu"))


@pytest.mark.slow
def test_the_lpips_of_a_backbone_by_path_is_torchmetrics(tmp_path):
    from torchmetrics.functional.image.lpips import _LPIPS
    from torchvision.models import alexnet

    backbone = alexnet(weights=None).state_dict()
    torch.save(backbone, tmp_path / "alexnet.pth")
    given = load_given(tmp_path / "alexnet.pth", None, None, torch.device("cpu"))
    theirs = _LPIPS(pretrained=True, net="alex", pnet_rand=True).eval()
    theirs.net.load_state_dict({key: backbone[f"features.{key.split('.', 1)[1]}"] for key in theirs.net.state_dict()})
    drawn, real = torch.rand(2, 2, 3, 64, 64) * 2 - 1
    assert given.lpips(drawn, real).flatten() == pytest.approx(theirs(drawn, real).flatten().detach(), rel=1e-5)
    assert float(given.lpips(real, real).max()) == 0
