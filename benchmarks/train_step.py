"""What a training step costs, and how much of it each setting saves.

    python benchmarks/train_step.py [stages=syncnet,generator,sync,finetune,gan,quality] [models=tiny,wav2lip96]
        [variants=fp32,fp32+last,bf16+last,bf16+last+fused] [steps=5] [warm=2] [batch=8] [lr=1e-4] [curves=true]
        [module.KEY=VALUE ...]

A variant is a precision (fp32 or bf16) and what is added to it: ``last`` (channels last), ``fused`` (the optimizer's
step as one kernel), ``compile`` (torch.compile). The first of the list is the plain one that the ratios refer to.

Every variant is a process of its own with one thread, built by what `anchor train` builds with, on the same drawn
speakers, the same batches and the same first weights. The processes take turns, a step each, so a busy machine hits all
alike. A step is everything between two batches: forward, backward, clipping, optimizer, logging; loading is left out.
Printed are medians over ``steps`` steps after ``warm`` of them, two at least: wall milliseconds, CPU seconds, the
process's peak memory (libraries included), the CPU seconds of the very first step (with ``compile`` nearly all of it
the compiler's, which finds nothing in its cache), and the model's arithmetic (convolutions and matrix products as
PyTorch counts them in a plain step) per CPU second as a share of the best matrix product that this program measured in
the same precision.

``sync`` is the generator with the sync loss; ``gan`` is the quality stage with what the classic GAN step has: one
discriminator, no feature matching, no R1, no balance. ``quality`` is as `anchor train` has it, every eighth and
sixteenth step being dearer (balance, R1) and no part of a median. ``curves=true`` prints the losses side by side.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

STAGES = {
    "syncnet": ["experiment=syncnet"],
    "generator": ["experiment=generator"],
    "sync": ["experiment=generator", "module.sync_start_step=0", "module.sync_ramp_steps=1"],
    "finetune": ["experiment=finetune"],
    "gan": [
        "experiment=quality", "module.mouth_discriminator=null", "module.feature_weight=0", "module.r1_weight=0",
        "module.balance=false", "module.motion_weight=0", "module.jitter_weight=0", "module.adversarial_start_step=0",
    ],
    "quality": ["experiment=quality", "module.adversarial_start_step=0"],
}  # fmt: skip
JUDGED = ("sync", "finetune", "gan", "quality")
LOSS = {"syncnet": "train/sync_loss"}  # what the curves show; the others' is train/l1
BATCH = {"tiny": (120, 8)}  # windows of the expert and of the other stages; else 8 and 4
LR = {"wav2lip96": 1e-4, "live96": 1e-3}  # as their presets advise
EXTRAS = ("last", "fused", "compile")


def measure_peaks(size: int = 1536, times: int = 5) -> dict[str, float]:
    """The best GFLOP per CPU second of a square matrix product, by precision."""
    import torch

    torch.set_num_threads(1)
    peaks = {}
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        square = torch.randn(size, size).to(dtype)
        seconds = []
        for _ in range(times + 1):
            start = time.process_time()
            square @ square
            seconds.append(time.process_time() - start)
        peaks[name] = 2 * size**3 / min(seconds) / 1e9
    return peaks


def clocks() -> tuple[float, float]:
    """Wall and CPU seconds; the CPU's with those of compilers that were called."""
    called = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.perf_counter(), time.process_time() + called.ru_utime + called.ru_stime


class Variant:
    """A process that takes a training step when it is told to."""

    def __init__(self, name: str, words: list[str]) -> None:
        precision, *extras = name.split("+")
        if precision not in ("fp32", "bf16") or set(extras) - set(EXTRAS):
            sys.exit(f"variants={name}: give fp32 or bf16, and of {', '.join(EXTRAS)} what is added, with a plus each.")
        self.name, self.precision = name, precision
        self.replies: list[dict[str, Any]] = []
        plain = [] if "fused" in extras else ["+module.optimizer.fused=false"]  # the modules' own choice is fused
        self.words = [
            *words, f"accelerator.precision={'32-true' if precision == 'fp32' else 'bf16-mixed'}",
            f"compile={'compile' in extras}", *plain,
        ]  # fmt: skip
        self.process: Any = subprocess.Popen(
            [sys.executable, __file__, "--variant", "last" if "last" in extras else "first", *self.words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "TORCHINDUCTOR_COMPILE_THREADS": "1"},
        )

    def step(self, how: str = "time") -> dict[str, Any]:
        """Take a step; its seconds, memory and loss, or its arithmetic for ``how="count"``."""
        try:
            self.process.stdin.write(how + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"{self.name}: {' '.join(self.words)}\n{self.process.stderr.read()[-3000:]}")
        self.replies.append(json.loads(line))
        return self.replies[-1]

    def median(self, key: str, last: int) -> float:
        """Over the ``last`` replies."""
        return statistics.median(reply[key] for reply in self.replies[-last:])

    def end(self) -> None:
        """Stop the process."""
        self.process.kill()
        self.process.communicate()


def be_a_variant(layout: str, words: list[str]) -> None:
    """Train, a step for each line of stdin, answered by a line of JSON."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever else is printed
    import lightning as L
    import torch
    from hydra import compose, initialize_config_module
    from omegaconf import OmegaConf
    from torch.utils.flop_counter import FlopCounterMode

    from launch.accelerators import resolve_machine
    from launch.build import build

    torch.set_num_threads(1)
    with initialize_config_module("anchor.conf", version_base="1.3"):
        config: Any = OmegaConf.to_container(compose("train", words), resolve=True)
    config["callbacks"] = {}
    L.seed_everything(0, verbose=False)
    run = build(config, resolve_machine(config["accelerator"]))
    if layout == "first":
        judge = getattr(run.module, "expert", None) or torch.nn.Identity()
        for network in (run.module, judge):
            network.to(memory_format=torch.contiguous_format)
            for part in network.modules():
                if isinstance(part, (torch.nn.Conv2d, torch.nn.ConvTranspose2d)):
                    part.register_forward_pre_hook(lambda _, inputs: (inputs[0].contiguous(),))
    loss = LOSS.get(config["stage"], "train/l1")

    class Turns(L.Callback):
        """A step when it is this process's turn."""

        def on_train_batch_start(self, trainer: Any, *_: Any) -> None:
            self.counter = FlopCounterMode(display=False) if sys.stdin.readline().strip() == "count" else None
            if self.counter:
                self.counter.__enter__()
            self.start = clocks()

        def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
            wall, cpu = (now - then for now, then in zip(clocks(), self.start, strict=True))
            if self.counter:
                self.counter.__exit__(None, None, None)
            answer = {
                "ms": 1000 * wall,
                "cpu_s": cpu,
                "mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
                "gflop": self.counter.get_total_flops() / 1e9 if self.counter else 0.0,
                "loss": float(trainer.callback_metrics[loss]),
            }
            print(json.dumps(answer), file=answers)

    run.trainer.callbacks.append(Turns())  # type: ignore[attr-defined]
    run.trainer.fit(run.module, datamodule=run.datamodule)


def save_networks(model: str, folder: Path) -> tuple[Path, Path]:
    """Checkpoints of the preset's generator and expert, with fresh weights."""
    import torch

    from anchor.models import describe
    from launch.sizes import build_preset

    torch.manual_seed(0)
    preset = build_preset(model)
    paths = folder / "base.ckpt", folder / "expert.ckpt"
    for path, kind in zip(paths, ("generator", "expert"), strict=True):
        weights = {f"net.{key}": value for key, value in preset[kind].state_dict().items()}
        torch.save({"state_dict": weights, "hyper_parameters": {"net": describe(preset[kind])}}, path)
    return paths


def stage_words(stage: str, model: str, folder: Path, batch: int, lr: float | None, total: int) -> list[str]:
    """What every variant of ``stage`` is composed from."""
    base, expert = folder / "base.ckpt", folder / "expert.ckpt"
    words = [
        *STAGES[stage], f"model={model}", "accelerator=cpu", "logger=none", f"run_dir={folder}/run", "seed=0",
        f"datamodule.batch_size={batch}", "datamodule.speakers=8", "datamodule.val_speakers=1", "datamodule.seconds=2",
        f"trainer.max_steps={total}", "trainer.limit_val_batches=0", "trainer.val_check_interval=null",
        "trainer.log_every_n_steps=1",
    ]  # fmt: skip
    if stage == "syncnet":
        words.append(f"datamodule.windows_per_clip={min(15, batch)}")
    if stage in ("finetune", "gan", "quality"):
        words.append(f"module.base={base}")
    if stage in JUDGED:
        words.append(f"module.expert={expert}")
    if lr is not None:
        words.append(f"module.lr={lr}")
    return words


def warm_steps(options: dict[str, str]) -> int:
    """At least two: the first step warms up, the second counts, for the quality stage's first one cannot be counted."""
    return max(2, int(options["warm"]))


def compare(stage: str, model: str, names: list[str], words: list[str], options: dict[str, str]) -> None:
    """Print the table of one stage and size."""
    steps, warm = int(options["steps"]), warm_steps(options)
    peaks = measure_peaks()
    variants: list[Variant] = []
    try:
        for name in names:
            variants.append(Variant(name, words))
            variants[-1].step()
        for turn in range(1, warm + steps):
            for variant in variants:
                variant.step("count" if turn == 1 and variant is variants[0] else "time")
        gflop = variants[0].replies[1]["gflop"]
    finally:
        for variant in variants:
            variant.end()
    print(
        f"\n{stage}, {model}, {next(w for w in words if 'batch_size' in w)}: {gflop:.1f} GFLOP a step; matrix product"
    )
    print(f"{peaks['fp32']:.0f} GFLOP/s in fp32, {peaks['bf16']:.0f} in bf16; load {os.getloadavg()[0]:.1f}\n")
    print("| | ms | CPU s | of plain | peak MiB | of the peak | first step, CPU s |\n|" + " --- |" * 7)
    plain = variants[0].median("cpu_s", steps)
    for variant in variants:
        cpu = variant.median("cpu_s", steps)
        ratios = [a["cpu_s"] / b["cpu_s"] for a, b in zip(variant.replies, variants[0].replies, strict=True)][-steps:]
        ratio = statistics.median(ratios) if plain else float("nan")
        print(
            f"| {variant.name} | {variant.median('ms', steps):.0f} | {cpu:.3f} | {ratio:.2f} | "
            f"{variant.replies[-1]['mib']:.0f} | {gflop / cpu / peaks[variant.precision]:.0%} | "
            f"{variant.replies[0]['cpu_s']:.1f} |",
            flush=True,
        )
    if options["curves"] == "true":
        print(f"\n| step | {' | '.join(names)} |\n|{' --- |' * (1 + len(names))}")
        total = len(variants[0].replies)
        for step in sorted({round(i * (total - 1) / 10) for i in range(11)}):
            print(f"| {step + 1} | " + " | ".join(f"{v.replies[step]['loss']:.4f}" for v in variants) + " |")


def main() -> None:
    """Every stage of every model."""
    given = dict(word.split("=", 1) for word in sys.argv[1:])
    options = {
        "stages": ",".join(STAGES), "models": "tiny,wav2lip96", "steps": "5", "warm": "2", "curves": "false",
        "variants": "fp32,fp32+last,bf16+last,bf16+last+fused", "batch": "", "lr": "",
    }  # fmt: skip
    extra = [f"{key}={value}" for key, value in given.items() if "." in key]
    if unknown := [key for key in given if key not in options and "." not in key]:
        sys.exit(f"{unknown[0]}= is no key of this program. They are {', '.join(options)} and module.KEY.")
    options.update({key: value for key, value in given.items() if "." not in key})
    import torch

    names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    cpu = names[0].partition(": ")[2] if names else ""
    print(f"python benchmarks/train_step.py {' '.join(sys.argv[1:])}")
    print(f"{cpu}, {torch.backends.cpu.get_cpu_capability()}, one thread, PyTorch {torch.__version__}", flush=True)
    for model in options["models"].split(","):
        with tempfile.TemporaryDirectory() as folder:
            os.environ["TORCHINDUCTOR_CACHE_DIR"] = f"{folder}/compiled"
            save_networks(model, Path(folder))
            for stage in options["stages"].split(","):
                if stage not in STAGES:
                    sys.exit(f"stages={stage} is unknown. Choose of {', '.join(STAGES)}.")
                batch = int(options["batch"] or BATCH.get(model, (8, 4))[stage != "syncnet"])
                lr = float(options["lr"]) if options["lr"] else LR.get(model)
                total = int(options["steps"]) + warm_steps(options)
                words = stage_words(stage, model, Path(folder), batch, lr, total)
                compare(stage, model, options["variants"].split(","), [*words, *extra], options)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--variant"]:
        be_a_variant(sys.argv[2], sys.argv[3:])
    else:
        main()
