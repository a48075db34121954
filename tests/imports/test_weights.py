"""Public state dicts, made here from names and shapes: they fit, mean the same, and go back to the bit."""

from __future__ import annotations

import os
import zipfile

import pytest
import torch
import torch.nn.functional as F

from anchor.errors import CheckpointError, ConfigError
from anchor.export.write import export
from anchor.imports.weights import import_weights
from anchor.models import load_network, stack_faces

# (kernel, in, out, stride, padding) of the published files, written down apart from the tables of the product.
R = "residual"
GENERATOR_FACE = [
    [(7, 6, 16, 1, 3)],
    [(3, 16, 32, 2, 1), R, R],
    [(3, 32, 64, 2, 1), R, R, R],
    [(3, 64, 128, 2, 1), R, R],
    [(3, 128, 256, 2, 1), R, R],
    [(3, 256, 512, 2, 1), R],
    [(3, 512, 512, 1, 0), (1, 512, 512, 1, 0)],
]
AUDIO = [(3, 1, 32, 1, 1), R, R, (3, 32, 64, (3, 1), 1), R, R, (3, 64, 128, 3, 1), R, R, (3, 128, 256, (3, 2), 1)]
GENERATOR_AUDIO = [*AUDIO, R, (3, 256, 512, 1, 0), (1, 512, 512, 1, 0)]
EXPERT_AUDIO = [*AUDIO, R, R, (3, 256, 512, 1, 0), (1, 512, 512, 1, 0)]
GENERATOR_DECODER = [
    [(1, 512, 512, 1, 0)],
    [("T", 1024, 512, 1, 0), R],
    [("T", 1024, 512, 2, 1), R, R],
    [("T", 512 + 256, 384, 2, 1), R, R],
    [("T", 384 + 128, 256, 2, 1), R, R],
    [("T", 256 + 64, 128, 2, 1), R, R],
    [("T", 128 + 32, 64, 2, 1), R, R],
]
EXPERT_FACE = [
    (7, 15, 32, 1, 3), (5, 32, 64, (1, 2), 1), R, R, (3, 64, 128, 2, 1), R, R, R, (3, 128, 256, 2, 1), R, R,
    (3, 256, 512, 2, 1), R, R, (3, 512, 512, 2, 1), (3, 512, 512, 1, 0), (1, 512, 512, 1, 0),
]  # fmt: skip
DISCRIMINATOR = [
    [(7, 3, 32, 1, 3)],
    [(5, 32, 64, (1, 2), 2), (5, 64, 64, 1, 2)],
    [(5, 64, 128, 2, 2), (5, 128, 128, 1, 2)],
    [(5, 128, 256, 2, 2), (5, 256, 256, 1, 2)],
    [(3, 256, 512, 2, 1), (3, 512, 512, 1, 1)],
    [(3, 512, 512, 2, 1), (3, 512, 512, 1, 1)],
    [(3, 512, 512, 1, 0), (1, 512, 512, 1, 0)],
]


def make_layers(state, prefix, layers, norm=True):
    """Random weights under ``prefix`` for ``layers``, and the function that they are."""
    steps, width = [], 0
    for number, layer in enumerate(layers):
        is_residual = layer == R
        kernel, before, width, stride, padding = (3, width, width, 1, 1) if is_residual else layer
        grows, kernel = kernel == "T", 3 if kernel == "T" else kernel
        name = f"{prefix}.{number}.conv_block"
        shape = (before, width, kernel, kernel) if grows else (width, before, kernel, kernel)
        state[f"{name}.0.weight"] = torch.randn(shape) * (2 / (before * kernel * kernel)) ** 0.5
        state[f"{name}.0.bias"] = torch.randn(width) * 0.1
        if norm:
            for what, value in (("weight", 1 + 0.1 * torch.randn(width)), ("bias", 0.1 * torch.randn(width))):
                state[f"{name}.1.{what}"] = value
            state[f"{name}.1.running_mean"] = 0.1 * torch.randn(width)
            state[f"{name}.1.running_var"] = 1 + torch.rand(width)
            state[f"{name}.1.num_batches_tracked"] = torch.tensor(number + 7)
        steps.append((name, grows, stride, padding, is_residual))

    def run(x):
        for name, grows, stride, padding, is_residual in steps:
            weight, bias = state[f"{name}.0.weight"], state[f"{name}.0.bias"]
            if grows:
                y = F.conv_transpose2d(x, weight, bias, stride, padding, 1 if stride == 2 else 0)
            else:
                y = F.conv2d(x, weight, bias, stride, padding)
            if not norm:
                x = F.leaky_relu(y, 0.01)
                continue
            parts = (state[f"{name}.1.{what}"] for what in ("running_mean", "running_var", "weight", "bias"))
            y = F.batch_norm(y, *parts)
            x = F.relu(x + y if is_residual else y)
        return x

    return run


def make_generator(state):
    faces = [make_layers(state, f"face_encoder_blocks.{i}", rows) for i, rows in enumerate(GENERATOR_FACE)]
    hear = make_layers(state, "audio_encoder", GENERATOR_AUDIO)
    draw = [make_layers(state, f"face_decoder_blocks.{i}", rows) for i, rows in enumerate(GENERATOR_DECODER)]
    last = make_layers(state, "output_block", [(3, 80, 32, 1, 1)])
    state["output_block.1.weight"], state["output_block.1.bias"] = torch.randn(3, 32, 1, 1) * 0.2, torch.randn(3)

    def run(bgr_N6HW, mel):
        maps, x = [], bgr_N6HW
        for block in faces:
            x = block(x)
            maps.append(x)
        x = hear(mel)
        for block in draw:
            x = torch.cat([block(x), maps.pop()], 1)
        return torch.sigmoid(F.conv2d(last(x), state["output_block.1.weight"], state["output_block.1.bias"]))

    return run


def make_expert(state):
    see, hear = make_layers(state, "face_encoder", EXPERT_FACE), make_layers(state, "audio_encoder", EXPERT_AUDIO)
    return lambda faces, mel: (F.normalize(see(faces).flatten(1)), F.normalize(hear(mel).flatten(1)))


def make_discriminator(state):
    rows = [make_layers(state, f"face_encoder_blocks.{i}", r, norm=False) for i, r in enumerate(DISCRIMINATOR)]
    state["binary_pred.0.weight"], state["binary_pred.0.bias"] = torch.randn(1, 512, 1, 1) * 0.1, torch.randn(1)

    def run(x):
        for row in rows:
            x = row(x)
        return torch.sigmoid(F.conv2d(x, state["binary_pred.0.weight"], state["binary_pred.0.bias"]))

    return run


MAKERS = {"generator": make_generator, "expert": make_expert, "discriminator": make_discriminator}


def outputs_of_both(kind, net, theirs):
    """What our network and the plain one give for the same pictures and speech, in our convention."""
    dice = torch.Generator().manual_seed(1)
    rgb = torch.rand(2, 5, 3, 96, 96, generator=dice)
    mel = torch.rand(2, 1, 80, 16, generator=dice) * 8 - 4
    signed, bgr = rgb * 2 - 1, rgb.flip(2)
    if kind == "generator":
        masked = bgr[:, 0].clone()
        masked[:, :, 48:] = 0
        drawn = theirs(torch.cat([masked, bgr[:, 1]], 1), mel)
        return net(stack_faces(signed[:, 0], signed[:, 1]), mel), drawn.flip(1)[:, :, 48:] * 2 - 1
    if kind == "expert":
        ours = net(signed[:, :, :, 48:], mel)
        return torch.cat(ours), torch.cat(theirs(bgr[:, :, :, 48:].flatten(1, 2), mel))
    return torch.sigmoid(net(signed[:, 0, :, 48:])), theirs(bgr[:, 0, :, 48:])


@pytest.mark.parametrize("kind", list(MAKERS))
def test_a_public_file_means_the_same_and_goes_back_to_the_bit(kind, tmp_path):
    torch.manual_seed(0)
    state = {}
    theirs = MAKERS[kind](state)
    wrapped = {"state_dict": {f"module.{key}": value for key, value in state.items()}, "global_step": 5}
    torch.save(wrapped, tmp_path / "theirs.pth")
    import_weights(source=tmp_path / "theirs.pth", kind=kind, out=tmp_path / "ours.ckpt")
    with torch.no_grad():
        ours, wanted = outputs_of_both(kind, load_network(tmp_path / "ours.ckpt", kind), theirs)
    assert wanted.std() > 1e-3  # it says something
    assert (ours - wanted).abs().max() < 1e-4
    export(checkpoint=tmp_path / "ours.ckpt", out=tmp_path / "back.pth", layout="wav2lip")
    back = torch.load(tmp_path / "back.pth", weights_only=True)["state_dict"]
    assert set(back) == set(state)
    assert all(torch.equal(back[key], state[key]) and back[key].dtype == state[key].dtype for key in state)
    if kind == "discriminator":
        state["binary_pred.0.weight"] = torch.zeros(1, 256, 1, 1)
        torch.save(state, tmp_path / "other.pth")
        with pytest.raises(CheckpointError, match=r"binary_pred.0.weight is \(1, 256, 1, 1\).*\(1, 512, 1, 1\)"):
            import_weights(source=tmp_path / "other.pth", kind=kind, out=tmp_path / "new.ckpt")
        with pytest.raises(CheckpointError, match=r"no expert .*names are those of the discriminator"):
            import_weights(source=tmp_path / "theirs.pth", kind="expert", out=tmp_path / "new.ckpt")
        with pytest.raises(ConfigError, match="exists already"):
            import_weights(source=tmp_path / "theirs.pth", kind=kind, out=tmp_path / "ours.ckpt")


class Evil:
    def __reduce__(self):
        return os.system, ("touch /tmp/should-not-exist",)


def test_evil_and_foreign_files_are_one_sentence_and_leave_nothing(tmp_path):
    files = {name: tmp_path / f"{name}.pth" for name in ("code", "text", "list", "numbers", "packed")}
    torch.save({"state_dict": Evil()}, files["code"])
    files["text"].write_bytes(b"no tensors here" * 9)
    torch.save([1, 2], files["list"])
    torch.save({"a": 1}, files["numbers"])
    torch.save({"a": torch.zeros(3)}, tmp_path / "plain.pth")
    with (
        zipfile.ZipFile(tmp_path / "plain.pth") as old,
        zipfile.ZipFile(files["packed"], "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for name in old.namelist():
            new.writestr(name, old.read(name))
    said = {
        "code": "could run code", "text": "could run code|not a readable", "list": "no state dict",
        "numbers": "'a' is no tensor", "packed": "compressed",
    }  # fmt: skip
    for name, path in files.items():
        with pytest.raises(CheckpointError, match=said[name]):
            import_weights(source=path, kind="generator", out=tmp_path / "out.ckpt")
    with pytest.raises(CheckpointError, match="no such file"):
        import_weights(source=tmp_path / "absent.pth", kind="generator", out=tmp_path / "out.ckpt")
    assert not list(tmp_path.glob("*out.ckpt*"))
