"""The command `anchor`: one door for every step of the chain. Heavy imports wait inside the commands."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

from anchor.arguments import describe_arguments, nearest, parse_arguments
from anchor.errors import AnchorError, ConfigError, DeviceError
from anchor.files import printable
from anchor.guard import check_packages
from anchor.signals import TerminatedError, catch_signals, describe_fault, is_output_closed, silence_output

# name: (module:function, what it does). A name is one word, or a noun and a verb. `train` is Hydra's, `run`
# a recipe's: they take the raw arguments.
COMMANDS = {
    "material check": ("anchor.preprocess.material:check", "raw videos: good enough to learn from? what to improve"),
    "synth": ("anchor.synth.corpus:render_corpus", "render drawn speakers with known truth"),
    "preprocess": ("anchor.preprocess:preprocess", "videos to shards: faces, speech, report"),
    "shards verify": ("anchor.shards.verify:verify", "read every byte of a set, and list what is damaged"),
    "shards stat": ("anchor.shards.stat:stat", "clips, hours, speakers, sizes: one table"),
    "shards show": ("anchor.shards.show:show", "the clips of a set, or one of them as a sheet or a video"),
    "shards merge": ("anchor.shards.merge:merge", "several sets to one; an older format to this one"),
    "shards split": ("anchor.shards.split:split", "one set to several: by speaker, by split, in parts"),
    "train": ("launch.cli:train", "run a stage: experiment=syncnet|generator|finetune|quality"),
    "run": ("launch.recipes:run", "a recipe, step by step: recipe=person|base, with gates between the stages"),
    "sweep show": ("launch.sweeps.show:show", "the jobs of a sweep, best first, and a page with charts"),
    "evaluate": ("launch.evaluation:evaluate", "score a stage: scores.json and report.html"),
    "infer": ("anchor.inference:infer", "a face and a speech to a talking video"),
    "speak": ("anchor.studio:speak", "a text and an avatar to a talking video with subtitles"),
    "dub": ("anchor.studio:dub", "a video, or an avatar, with another speech, labelled"),
    "avatar build": ("anchor.avatars:build", "a video or picture and a network to one folder that speaks"),
    "avatar show": ("anchor.avatars:show", "an avatar's clips, network and origin"),
    "avatar check": ("anchor.avatars:check", "every byte and picture of an avatar, and its network"),
    "serve": ("anchor.serving.serve:serve", "avatars on air: a page, WebRTC, routes for programs"),
    "export": ("anchor.export:export", "a checkpoint to safetensors, ONNX and a card"),
    "import wav2lip-tree": ("anchor.imports.wav2lip_tree:import_tree", "a tree of face crops and wavs to shards"),
    "import ultralight": (
        "anchor.imports.ultralight:import_ultralight",
        "pictures, points and a wav to shards",
    ),
    "import weights": ("anchor.imports.weights:import_weights", "Wav2Lip's public state dicts to our checkpoints"),
    "import livetalking": ("anchor.avatars.livetalking:import_livetalking", "LiveTalking's avatar folders to ours"),
    "models list": ("anchor.faces.stock:list_models", "the face models: which are here, where they come from"),
    "models fetch": ("anchor.faces.fetch:fetch", "download a face model, and check its sum"),
    "track sync": ("launch.tracking.sync:sync", "send what runs tracked offline to the wandb server"),
    "check mlu": ("launch.check_mlu:check_mlu", "MLU cards; with --qualify, whether they train"),
    "check": ("launch.check:check", "cards, versions, face models, media libraries: one table"),
}
LINES = "\n\t"  # what a sentence of ours may hold besides
USAGE = "usage: anchor COMMAND key=value ...      anchor COMMAND --help\n\ncommands:\n" + "\n".join(
    f"  {name:<16}{text}" for name, (_, text) in COMMANDS.items()
)

TRAIN_USAGE = """usage: anchor train experiment=NAME [group=choice] [key=value] ...

A Hydra application: -m sweeps, --cfg job prints the composed configuration, --info says where it comes from.

  anchor train experiment=syncnet                                  the expert, on speakers rendered in memory
  anchor train experiment=syncnet datamodule=shards datamodule.path=DIR
  anchor train experiment=generator module.expert=PATH accelerator=cpu2      or mlu8, cuda8, mlu_sim, auto
  anchor train experiment=finetune module.base=PATH datamodule=shards datamodule.path=PERSON
  anchor train experiment=quality module.base=PATH module.expert=PATH
  anchor train --cfg job experiment=syncnet                        every key and its value

groups: experiment module model datamodule trainer accelerator callbacks logger sweep
keys:   run_dir= seed= resume=auto|none|PATH module.lr= trainer.max_steps= and all that --cfg job shows"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its status.

    0 is done, 2 what the user can mend, 3 a gate that holds, 130 after Ctrl-C, 143 after SIGTERM, 129 after SIGHUP, 141
    where nobody reads the output. Only without ``arguments``, as a process of its own, are signals caught; then for as
    long as the process lives.
    """
    if arguments is None:
        catch_signals()
    words = list(sys.argv[1:] if arguments is None else arguments)
    name = words[0] if words else ""
    try:
        name, rest = _split(words)
        status = _run(name, rest)
        sys.stdout.flush()
        return status
    except AnchorError as error:
        return _say(name, str(error), error.status)
    except TerminatedError as stop:
        _settle_interrupt()
        return _say(name, f"stopped by {stop.number.name}{_more(stop)}.", 128 + stop.number)
    except KeyboardInterrupt as stop:
        _settle_interrupt()
        return _say(name, f"stopped by Ctrl-C{_more(stop)}.", 130)
    except BrokenPipeError:
        if not is_output_closed():
            raise  # another pipe broke: that is a bug
        silence_output()
        return 141
    except (MemoryError, ImportError) as error:
        if isinstance(error, ImportError) and "failed to map segment" not in str(error):
            raise
        return _say(name, "memory ran out. Give it more: a larger limit (ulimit -v, the container's), or less work.", 2)
    except OSError as error:
        sentence = describe_fault(error, words)
        if sentence is None:
            raise
        return _say(name, sentence, 2)


def _run(name: str, rest: Sequence[str]) -> int:
    if not name:
        print(USAGE)
        return 0
    if name == "--version":
        print(import_module("anchor").__version__)
        return 0
    wants_help = any(word in ("-h", "--help") for word in rest)
    if os.environ.get("ANCHOR_MLU_SIM") and not wants_help:
        _simulate_cards()
    if name not in COMMANDS:  # a noun without its verb
        if wants_help:
            print(_describe_noun(name))
            return 0
        verbs = _verbs(name)
        hint = nearest(rest[0], verbs) if rest else ""
        said = f"{rest[0]!r} is no verb of {name}.{hint}" if rest else "say what to do."
        raise ConfigError(f"{said} Verbs are {', '.join(verbs)}: anchor {name} {verbs[0]} ...")
    module, attribute = COMMANDS[name][0].split(":")
    if module.partition(".")[0] != "anchor":
        check_packages()  # before anything of that name is imported: a foreign one never runs
    function: Callable[..., Any] = getattr(import_module(module), attribute)
    if name == "train" and wants_help and len(rest) == 1:
        print(TRAIN_USAGE)
    elif name in ("train", "run"):
        return function(rest) or 0
    elif wants_help:
        print(describe_arguments(name, function))
    else:
        function(**parse_arguments(function, rest))
    return 0


def _settle_interrupt() -> None:
    """CPython notes an interrupted exec(), as in a dataclass, and would end by SIGINT; another exec() clears that."""
    exec("")  # noqa: S102


def _simulate_cards() -> None:
    """Make the simulated MLU importable as the environment asks, before any command looks for cards."""
    check_packages()
    simulator = import_module("launch.mlu_sim")
    try:
        simulator.activate()
    except simulator.SimulatorError as error:
        raise DeviceError(str(error)) from error


def _split(words: Sequence[str]) -> tuple[str, list[str]]:
    """The command's name, or the noun of an unfinished one, and what follows it; an empty name asks for the usage."""
    if not words or words[0] in ("-h", "--help", "help"):
        return "", []
    if words[0] == "--version":
        return "--version", []
    for length in (2, 1):
        name = " ".join(words[:length])
        if name in COMMANDS or (length == 1 and _verbs(name)):
            return name, list(words[length:])
    nouns = dict.fromkeys(name.split()[0] for name in COMMANDS)
    raise ConfigError(f"no such command.{nearest(words[0], list(nouns))} Commands are {', '.join(COMMANDS)}.")


def _verbs(noun: str) -> list[str]:
    return [name.split()[1] for name in COMMANDS if " " in name and name.split()[0] == noun]


def _describe_noun(noun: str) -> str:
    lines = [f"  {verb:<12}{COMMANDS[f'{noun} {verb}'][1]}" for verb in _verbs(noun)]
    return "\n".join([f"usage: anchor {noun} VERB key=value ...      anchor {noun} VERB --help", "", "verbs:", *lines])


def _more(stop: KeyboardInterrupt) -> str:
    """What the command itself has to say about where it stands."""
    return f": {stop}" if str(stop) else ""


def _say(name: str, sentence: str, status: int) -> int:
    try:
        print(f"anchor {name}: {printable(sentence, LINES)}", file=sys.stderr)
        sys.stdout.flush()
    except OSError:  # nobody reads, or the terminal has gone
        silence_output()
    return status


if __name__ == "__main__":
    sys.exit(main())
