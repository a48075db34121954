"""What the drawing process makes of a network before it draws."""

import contextlib
import time

import numpy as np
import pytest
import torch
from live_avatars import small_net
from torch import nn

from anchor.models import ClassicGenerator, stack_faces
from anchor.ops.images import to_bytes, to_signed
from anchor.serving.batching import Request
from anchor.serving.drawing import Face, _Loaded, _Worker, draw_mouths


@pytest.mark.parametrize("make", [small_net, lambda: ClassicGenerator(width=4)], ids=["ours", "classic"])
@pytest.mark.parametrize(("precision", "most"), [("float32", 1), ("bfloat16", 12)])
def test_folded_norms_draw_what_the_network_draws(make, precision, most):
    torch.manual_seed(0)
    net = make().eval()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):  # as if it had learnt
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
            nn.init.uniform_(module.weight, 0.5, 1.5)
    rng = np.random.default_rng(0)
    crops_NSSC = rng.integers(0, 256, (4, net.image_size, net.image_size, 3), dtype=np.uint8)
    references_NR, mels_NMS = np.array([[2], [3], [0], [1]]), rng.normal(0, 1, (3, 80, 16)).astype(np.float32)
    drawn_NhSC = draw_mouths(Face(net, crops_NSSC, references_NR), [0, 1, 3], mels_NMS, precision=precision)
    faces = [to_signed(torch.from_numpy(crops_NSSC[place]).permute(0, 3, 1, 2)) for place in ([0, 1, 3], [2, 3, 1])]
    with torch.inference_mode():
        wanted_N3hS = to_bytes(net(stack_faces(*faces), torch.from_numpy(mels_NMS)[:, None]))
    wanted_NhSC = wanted_N3hS.permute(0, 2, 3, 1).numpy()
    assert wanted_NhSC.std() > 2, "a picture with something in it"
    assert np.abs(drawn_NhSC.astype(int) - wanted_NhSC).max() <= most


class Line:
    """A pipe on which each message comes ``gap_s`` after the one before was taken; no clock is waited for."""

    def __init__(self, messages, gap_s):
        self.messages, self.gap_s, self.sent = list(messages), gap_s, []

    def poll(self, timeout):
        if not self.messages and timeout is None:
            raise EOFError
        return bool(self.messages) and (timeout is None or self.gap_s <= timeout)

    def recv(self):
        return self.messages.pop(0)

    def send(self, answer):
        self.sent.append(answer)


@pytest.mark.parametrize(("leisure_s", "first"), [(0.1, 4), (3600.0, 1)])
def test_mouths_of_one_tick_are_drawn_together_unless_one_is_in_a_hurry(monkeypatch, leisure_s, first):
    monkeypatch.setattr("anchor.serving.drawing.LEISURE_S", leisure_s)
    mel_MS, deadline = np.zeros((80, 16), np.float32), time.monotonic() + 600
    line = Line([Request(session, "ann", 0, 5, 0, mel_MS, deadline) for session in range(4)], gap_s=0.001)
    face = Face(small_net(), np.zeros((1, 32, 32, 3), np.uint8), np.array([[0]]))
    worker = _Worker(line, None, torch.device("cpu"), torch.float32)
    worker.avatars["ann"] = _Loaded(face, torch.device("cpu"), torch.float32)
    worker.avatars["ann"].draw([0], mel_MS[None], 1)  # what is drawn first is slow
    with contextlib.suppress(EOFError):
        worker.run()
    assert line.sent[0].batch_size == first
