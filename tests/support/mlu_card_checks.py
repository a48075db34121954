"""Checks of two simulated cards as devices: their memory, streams, processes and what watches them.

``mlu_checks.py`` runs them.
"""

import os
import re

import pytest
import torch
import torch_mlu
from torch import nn
from torch_mlu import simulation

CARD = torch.device("mlu", 0)


def raises(words, call):
    with pytest.raises(Exception, match=re.escape(words)) as error:
        call()
    return error.value


def check_memory_is_counted_and_bounded():
    held = torch.mlu.memory_allocated(1)
    big = torch.empty(2**20, device="mlu:1")
    assert torch.mlu.memory_allocated(1) - held == 4 * 2**20
    assert torch.mlu.memory_stats(1)["allocated_bytes.all.current"] == torch.mlu.memory_allocated(1)
    del big
    assert torch.mlu.memory_allocated(1) == held
    assert torch.mlu.max_memory_allocated(1) >= held + 4 * 2**20
    torch.mlu.reset_peak_memory_stats(1)
    assert torch.mlu.max_memory_allocated(1) == held
    error = raises(
        "MLU out of memory. Tried to allocate 2.00 GiB. MLU 1 has a total capacity of 1.00 GiB of which",
        lambda: torch.empty(2**29, device="mlu:1"),
    )
    assert isinstance(error, torch.mlu.OutOfMemoryError)
    assert torch.mlu.memory_allocated(1) == held
    rows = torch.empty(2**27, device=CARD)  # half of the card
    raises("MLU out of memory", lambda: torch.cat([rows, rows]))  # a result that has no room
    free, total = torch.mlu.mem_get_info(CARD)
    assert total == 2**30
    assert free == total - torch.mlu.memory_allocated(CARD)
    assert torch.mlu.memory_stats(CARD)["num_ooms"] >= 1


def check_streams_and_events():
    side = torch.mlu.Stream()
    start, end = torch.mlu.Event(enable_timing=True), torch.mlu.Event(enable_timing=True)
    assert torch.mlu.current_stream() == torch.mlu.default_stream()
    with torch.mlu.stream(side):
        assert torch.mlu.current_stream().stream_id == side.stream_id
        start.record()
        torch.ones(3, device=CARD).record_stream(side)
        end.record()
    assert torch.mlu.current_stream() == torch.mlu.default_stream()
    side.wait_stream(torch.mlu.current_stream())
    end.synchronize()
    torch.mlu.synchronize()
    assert start.elapsed_time(end) >= 0
    with torch.mlu.device(1):
        assert torch.ones(1, device="mlu").device.index == 1
        assert torch.mlu.current_device() == 1
    assert torch.mlu.current_device() == 0


def check_pinned_memory():
    host = torch.arange(6.0).view(2, 3).t()
    pinned = host.pin_memory("mlu") if torch.__version__ < "2.6" else host.pin_memory()
    assert pinned.is_pinned()
    assert not host.is_pinned()
    assert torch.equal(pinned, host)
    assert torch.equal(pinned.to(CARD, non_blocking=True).cpu(), host)
    loader = torch.utils.data.DataLoader(torch.ones(4, 2), batch_size=2, pin_memory=True, pin_memory_device="mlu")
    assert all(batch.is_pinned() for batch in loader)


def check_forked_children_have_no_card():
    torch.ones(1, device=CARD)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            torch.ones(1, device=CARD)
            words = "it worked"
        except RuntimeError as error:
            words = str(error)
        os.write(writer, f"{words} {torch.mlu._is_in_bad_fork()}".encode())
        os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    words = os.read(reader, 10_000).decode()
    assert "Cannot re-initialize MLU in forked subprocess" in words
    assert words.endswith("True")
    torch.ones(1, device=CARD)


def check_a_loaders_workers_may_be_forked():
    torch.ones(1, device=CARD)
    batches = list(torch.utils.data.DataLoader(torch.arange(8.0), batch_size=4, num_workers=1))
    assert [batch.sum().item() for batch in batches] == [6, 22]


def check_profiler_sees_the_card():
    from torch.autograd.profiler import profile

    with profile(use_device="mlu") as profiled:
        torch.ones(64, 64, device=CARD).mm(torch.ones(64, 64, device=CARD))
    assert "aten::mm" in {event.key for event in profiled.key_averages()}
    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.PrivateUse1]
    with torch.profiler.profile(activities=activities) as modern:
        torch.ones(4, device=CARD).add(1)
    assert "aten::add" in {event.key for event in modern.key_averages()}


def check_operators_are_counted():
    with simulation.count_operators() as counts:
        nn.Conv2d(1, 1, 3).to(CARD)(torch.ones(1, 1, 4, 4, device=CARD)).relu()
    assert counts["aten::relu"] == 1
    assert counts["aten::convolution_overrideable"] == 1
    with simulation.count_operators() as none:
        pass
    assert none == {}


def check_what_is_not_simulated_says_so():
    raises("torch.mlu.MLUGraph is not simulated", lambda: torch.mlu.MLUGraph)
    raises("has no attribute 'nothing'", lambda: torch.mlu.nothing)
    assert torch_mlu.is_simulated
    assert torch_mlu.__version__.endswith("+sim")
    assert torch.mlu.get_device_name() == "MLU370-X8"
    assert not torch.mlu.is_bf16_supported()
    assert torch.mlu.device_count() == 2
    missing = [name for name in torch.mlu.__all__ if not hasattr(torch.mlu, name)]
    assert not missing
