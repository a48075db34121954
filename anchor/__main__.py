"""The command `anchor`: one door for every step of the chain. Heavy imports wait inside the commands."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

from anchor.arguments import describe_arguments, parse_arguments
from anchor.errors import AnchorError, ConfigError

# name: (module:function, what it does). `train` is Hydra's and takes the raw arguments.
COMMANDS = {
    "synth": ("anchor.synth.corpus:render_corpus", "render drawn speakers with known truth"),
    "preprocess": ("anchor.preprocess:preprocess", "videos to shards: faces, speech, report"),
    "train": ("launch.cli:train", "run a stage: experiment=syncnet|generator|finetune|quality"),
    "evaluate": ("anchor.evaluation:evaluate", "score a stage: scores.json and report.html"),
    "infer": ("anchor.inference:infer", "a face and a speech to a talking video"),
    "check": ("launch.check:check", "cards, versions, face models, media libraries: one table"),
}
USAGE = "usage: anchor COMMAND key=value ...      anchor COMMAND --help\n\ncommands:\n" + "\n".join(
    f"  {name:<12}{text}" for name, (_, text) in COMMANDS.items()
)

TRAIN_USAGE = """usage: anchor train experiment=NAME [group=choice] [key=value] ...

A Hydra application: -m sweeps, --cfg job prints the composed configuration, --info says where it comes from.

  anchor train experiment=syncnet                                  the expert, on speakers rendered in memory
  anchor train experiment=syncnet datamodule=shards datamodule.path=DIR
  anchor train experiment=generator module.expert=PATH accelerator=cpu2
  anchor train experiment=finetune module.base=PATH datamodule=shards datamodule.path=PERSON
  anchor train experiment=quality module.base=PATH module.expert=PATH
  anchor train --cfg job experiment=syncnet                        every key and its value

groups: experiment module model datamodule trainer accelerator callbacks logger sweep
keys:   run_dir= seed= resume=auto|none|PATH module.lr= trainer.max_steps= and all that --cfg job shows"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit status is 0, 2 for what the user can mend, 130 after Ctrl-C."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help", "help"):
        print(USAGE)
        return 0
    name, rest = words[0], words[1:]
    try:
        if name == "--version":
            print(import_module("anchor").__version__)
            return 0
        function = _find(name)
        wants_help = any(word in ("-h", "--help") for word in rest)
        if name == "train" and wants_help and len(rest) == 1:
            print(TRAIN_USAGE)
            return 0
        if name == "train":
            return function(rest) or 0
        if wants_help:
            print(describe_arguments(name, function))
            return 0
        function(**parse_arguments(function, rest))
    except AnchorError as error:
        print(f"anchor {name}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"anchor {name}: stopped by Ctrl-C.", file=sys.stderr)
        return 130
    return 0


def _find(name: str) -> Callable[..., Any]:
    if name not in COMMANDS:
        import difflib

        near = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise ConfigError(f"no such command.{hint} Commands are {', '.join(COMMANDS)}.")
    module, function = COMMANDS[name][0].split(":")
    return getattr(import_module(module), function)


if __name__ == "__main__":
    sys.exit(main())
