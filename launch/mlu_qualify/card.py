"""Items of one card: what it is, its numbers, its memory."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from launch.mlu_qualify.outcome import UNFIT, NotHereError, Scene, item

STATS = ("allocated_bytes.all.current", "allocated_bytes.all.peak", "reserved_bytes.all.current", "num_ooms")
GENTLE = 1e-3  # of float32 results between two machines, relative
HALF = {torch.bfloat16: 2e-2, torch.float16: 4e-3}  # of products of 256 numbers in [0, 1), relative


def mlu() -> Any:
    """``torch.mlu``, which type checkers do not know."""
    return torch.mlu  # type: ignore[attr-defined]


def small_net(seed: int = 0) -> nn.Module:
    """A few convolutions with normalisation, the operators that all our networks are made of."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.ConvTranspose2d(16, 8, 4, 2, 1),
        nn.LeakyReLU(0.2),
        nn.AdaptiveAvgPool2d(4),
        nn.Flatten(),
        nn.Linear(8 * 16, 4),
    )


def images(count: int = 8) -> Tensor:
    """The same ``count`` images everywhere."""
    return torch.rand(count, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def difference(ours: Tensor, theirs: Tensor) -> float:
    """The largest difference, relative to the largest value."""
    scale = theirs.abs().max().clamp(min=1e-12)
    return float((ours.detach().cpu().double() - theirs.detach().cpu().double()).abs().max() / scale)


def gradients_of(net: nn.Module, x: Tensor, parts: int = 1) -> list[Tensor]:
    """Gradients of a mean over ``parts`` equal parts of ``x``, each normalised by itself."""
    for part in x.chunk(parts):
        (net(part).square().mean() / parts).backward()
    return [parameter.grad for parameter in net.parameters() if parameter.grad is not None]


def gradient_difference(ours: list[Tensor], theirs: list[Tensor]) -> float:
    """The largest difference, relative to the largest gradient of all: that of a bias before normalisation is noise."""
    scale = max(float(grad.abs().max()) for grad in theirs)
    return max(float((a.cpu() - b.cpu()).abs().max()) for a, b in zip(ours, theirs, strict=True)) / scale


@item("cards", "how many devices torch_mlu shows, and what they are")
def cards(scene: Scene) -> str:
    """Names, capability and memory."""
    properties = mlu().get_device_properties(0)
    names = {mlu().get_device_name(index) for index in range(mlu().device_count())}
    memory = properties.total_memory / 2**30
    return f"{mlu().device_count()} x {', '.join(sorted(names))}, major {properties.major}, {memory:.0f} GiB"


@item("cnmon", "whether the vendor's monitor is at hand", needs_real_card=True)
def monitor(scene: Scene) -> str:
    """The first lines of ``cnmon``."""
    if shutil.which("cnmon") is None:
        raise NotHereError("cnmon is not on the PATH; the driver's package has it")
    done = subprocess.run(["cnmon", "info", "-c", "0", "-t"], capture_output=True, text=True, timeout=30, check=False)
    line = next((line.strip() for line in done.stdout.splitlines() if line.strip()), "no output")
    return f"status {done.returncode}: {line}"


@item("bfloat16", "whether is_bf16_supported tells the truth")
def bfloat16(scene: Scene) -> str:
    """A product in bfloat16 against float64 on the CPU."""
    claimed = mlu().is_bf16_supported()
    left, right = (torch.rand(256, 256, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2))
    try:
        product = left.to("mlu", torch.bfloat16).mm(right.to("mlu", torch.bfloat16)).float().cpu()
    except RuntimeError as error:
        if claimed:
            raise
        raise NotHereError(f"no bfloat16, as it says: {str(error).splitlines()[0]}", UNFIT) from error
    error_found = difference(product, left.double().mm(right.double()))
    if claimed:
        assert error_found < HALF[torch.bfloat16], f"a product in bfloat16 is off by {error_found:.1e}"
        return f"supported; a product is off by {error_found:.1e}"
    raise NotHereError(f"is_bf16_supported() is False; a product ran all the same, off by {error_found:.1e}", UNFIT)


@item("float32 against the CPU", "gradients of a small network on both")
def agreement(scene: Scene) -> str:
    """Largest relative difference of the gradients of one step."""
    theirs, ours = (gradients_of(small_net().to(device), images().to(device)) for device in ("cpu", "mlu"))
    worst = gradient_difference(ours, theirs)
    assert worst < GENTLE, f"gradients differ by {worst:.1e} of the largest"
    return f"largest difference {worst:.1e} of the largest gradient"


@item("64-bit tensors", "what is left of float64 and int64 on the card")
def sixty_four_bits(scene: Scene) -> str:
    """Bits of a float64 that survive the card, and whether a large int64 does."""
    third = torch.tensor([1 / 3], dtype=torch.float64)
    error = abs(float(third.to("mlu").cpu()) - 1 / 3)
    large = int(torch.tensor([2**40 + 7]).to("mlu").cpu())
    floats = "kept" if error == 0 else f"rounded by {error:.0e}"
    return f"float64 {floats}; 2**40 + 7 comes back as {large}"


@item("fp16 scaler", "whether GradScaler skips a step with an infinite gradient, and halves its scale")
def scaler(scene: Scene) -> str:
    """One good step and one that is skipped."""
    net = nn.Linear(8, 8).to("mlu")
    optimizer, grad_scaler = torch.optim.AdamW(net.parameters(), 0.1), torch.amp.GradScaler("mlu", init_scale=1024.0)
    for is_bad in (False, True):
        optimizer.zero_grad()
        with torch.autocast("mlu", dtype=torch.float16):
            loss = net(torch.ones(2, 8, device="mlu"))
            assert loss.dtype == torch.float16, f"autocast gave {loss.dtype}"
        grad_scaler.scale(loss.float().mean()).backward()
        if is_bad:
            assert net.weight.grad is not None
            net.weight.grad.fill_(float("inf"))
        before = net.weight.detach().clone()
        grad_scaler.step(optimizer)
        grad_scaler.update()
        assert torch.equal(before, net.weight) == is_bad, "a step was taken that should not, or the other way round"
    assert grad_scaler.get_scale() == 512, f"the scale is {grad_scaler.get_scale()}"
    return "skipped the infinite step; scale 1024 -> 512"


@item("autocast bans BCE", "whether binary_cross_entropy is refused under autocast")
def banned_loss(scene: Scene) -> str:
    """Our losses use the form with logits."""
    values = torch.full((4,), 0.5, device="mlu")
    with torch.autocast("mlu", dtype=torch.float16):
        nn.functional.binary_cross_entropy_with_logits(values, values)
        try:
            nn.functional.binary_cross_entropy(values, values)
        except RuntimeError:
            return "refused, as documented; the form with logits runs"
    return "not refused here; the form with logits runs too"


@item("pinned memory", "whether host memory can be pinned and copied without waiting")
def pinned(scene: Scene) -> str:
    """A pinned tensor to the card and back."""
    host = torch.arange(1000.0)
    held = host.pin_memory("mlu") if torch.__version__ < "2.6" else host.pin_memory()
    assert held.is_pinned(), "pin_memory() gave memory that is not pinned"
    moved = held.to("mlu", non_blocking=True)
    mlu().synchronize()
    assert torch.equal(moved.cpu(), host), "numbers changed on the way"
    return "pinned; copied without waiting, and back"


@item("memory statistics", "whether the counters that we log are there")
def statistics(scene: Scene) -> str:
    """The keys that the accelerator's statistics read."""
    held = torch.empty(2**20, device="mlu")
    stats = mlu().memory_stats(0)
    missing = [key for key in STATS if key not in stats]
    assert not missing, f"missing: {', '.join(missing)}; there are {', '.join(sorted(stats)[:8])} ..."
    assert stats[STATS[0]] >= held.nbytes, "4 MiB are held, and the counter says less"
    free, total = mlu().mem_get_info(0)
    return f"{len(stats)} counters; {free / 2**30:.1f} of {total / 2**30:.1f} GiB free"


@item("out of memory", "whether its words are recognised, and the card goes on")
def out_of_memory(scene: Scene) -> str:
    """More than the card has."""
    from launch.mlu import is_out_of_memory

    total = mlu().mem_get_info(0)[1]
    try:
        torch.empty(2 * total, dtype=torch.uint8, device="mlu")
    except RuntimeError as error:
        refusal = error
    else:
        raise AssertionError(f"{2 * total / 2**30:.0f} GiB were given, and the card has {total / 2**30:.0f}")
    said = str(refusal).splitlines()[0]
    assert is_out_of_memory(refusal), f"not recognised: {said}"
    assert torch.ones(2, device="mlu").sum().item() == 2
    return f"recognised: {said[:60]}"


@item("random numbers resume", "whether a saved state gives the same numbers again")
def random_states(scene: Scene) -> str:
    """States as a checkpoint keeps them."""
    from launch.mlu import get_rng_state, set_rng_state

    device = torch.device("mlu", 0)
    torch.manual_seed(1)
    torch.rand(10, device=device)
    state = get_rng_state(device)
    first = torch.nn.functional.dropout(torch.ones(100, device=device), 0.5)
    set_rng_state(state, device)
    again = torch.nn.functional.dropout(torch.ones(100, device=device), 0.5)
    assert torch.equal(first, again), "other numbers came"
    same = torch.equal(torch.rand(4, generator=torch.Generator().manual_seed(1)), _first_numbers(device))
    assert state is not None
    return f"the same again ({state.numel()} bytes); seed 1 gives {'the' if same else 'not the'} CPU's numbers"


def _first_numbers(device: torch.device) -> Tensor:
    torch.manual_seed(1)
    return torch.rand(4, device=device).cpu()


@item("checkpoint mlu -> cpu -> mlu", "whether a file of one opens on the other, the same")
def checkpoints(scene: Scene) -> str:
    """Weights and optimizer state through Lightning's checkpoint plugin for the card."""
    from launch.mlu import MLUCheckpointIO

    net = small_net().to("mlu")
    optimizer = torch.optim.AdamW(net.parameters())
    net(images().to("mlu")).mean().backward()
    optimizer.step()
    plugin = MLUCheckpointIO()
    path = Path(tempfile.mkdtemp(dir=scene.folder)) / "a.ckpt"
    plugin.save_checkpoint({"state_dict": net.state_dict(), "optimizer": optimizer.state_dict()}, path)
    loaded = torch.load(path, weights_only=True)  # no map_location: as a machine without cards opens it
    places = {value.device.type for value in loaded["state_dict"].values()}
    assert places == {"cpu"}, f"the file asks for {', '.join(sorted(places))}"
    other = small_net(seed=1).to("mlu")
    other.load_state_dict(loaded["state_dict"])
    torch.optim.AdamW(other.parameters()).load_state_dict(loaded["optimizer"])
    for ours, theirs in zip(other.parameters(), net.parameters(), strict=True):
        assert torch.equal(ours, theirs), "weights changed on the way"
    return f"{path.stat().st_size / 1e3:.0f} kB, the same on both"


@item("profiler", "whether torch.profiler records the card's activity")
def profiler(scene: Scene) -> str:
    """One product under Lightning's activities for the card."""
    from launch.mlu.profiler import card_activities

    with torch.profiler.profile(activities=card_activities()) as profiled:
        torch.rand(64, 64, device="mlu").mm(torch.rand(64, 64, device="mlu"))
        mlu().synchronize()
    events = profiled.key_averages()
    assert any(event.key == "aten::mm" for event in events), "the product is not among the events"
    on_card = sum(1 for event in events if getattr(event, "device_time_total", 0) > 0)
    if not on_card and not scene.is_simulated:
        raise AssertionError("no event has time on the card")
    return f"{len(events)} operators, {on_card} with time on the card"


@item("MLUGraph", "whether a captured graph replays", needs_real_card=True)
def graph(scene: Scene) -> str:
    """Capture one product and replay it on other numbers."""
    value = torch.ones(8, 8, device="mlu")
    value.mm(value)
    mlu().synchronize()
    captured = mlu().MLUGraph()
    with mlu().graph(captured):
        product = value.mm(value)
    value.fill_(2)
    captured.replay()
    mlu().synchronize()
    assert float(product[0, 0]) == 32, f"replayed to {float(product[0, 0])}, and 32 is right"
    return "captured and replayed"


@item("fork is refused", "whether a forked child of a process with an open card says so")
def forked(scene: Scene) -> str:
    """What a child sees."""
    torch.ones(1, device="mlu")
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            torch.ones(1, device="mlu").cpu()
            words = "it worked"
        except RuntimeError as error:
            words = str(error).splitlines()[0]
        os.write(writer, words.encode())
        os._exit(0)
    os.close(writer)  # or the read below waits for ever where the child died without a word
    os.waitpid(child, 0)
    words = os.read(reader, 10_000).decode()
    assert words, "the child died without a word"
    assert words != "it worked", "a forked child used the card; the launcher's refusal is then stricter than needed"
    return words[:70]
