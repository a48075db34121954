"""Recipes: each step once, made anew only where something changed, and bad input found before anything is taught."""

import json
import os
import signal
import subprocess
import sys
import time
import wave
from pathlib import Path

import numpy as np
import pytest

from anchor.__main__ import COMMANDS, main
from anchor.arguments import parse_arguments
from anchor.errors import AnchorError, ConfigError, GateError
from anchor.media import find_ffmpeg
from anchor.synth.corpus import render_corpus
from launch.recipes import command
from launch.recipes.chain import Chain, Step, StepError
from launch.recipes.inputs import read_inputs
from launch.recipes.recipe import list_recipes, load_recipe


class Pretending(Chain):
    """Steps that write what they leave, instead of commands: a stand-in for the processes alone."""

    called: list = []  # noqa: RUF012
    status = 0

    def _call(self, words):
        self.called.append(words[0])
        target = Path(words[-1].partition("=")[2])
        if not self.status:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text("made")
        return self.status


@pytest.fixture
def chain(tmp_path):
    Pretending.called, Pretending.status = [], 0
    film = tmp_path / "me.mp4"
    film.write_text("film")
    out = tmp_path / "out"
    out.mkdir()

    def steps():
        def step(name, *words):
            folder = out / name
            return Step(name, name, (name, *words, f"out={folder}/file"), folder / "file", folder)

        return [
            step("person", f"source={film}"), step("people"), step("expert", f"path=[{out}/people/file]"),
            step("base", f"path=[{out}/people,{out}/person]", f"expert={out}/expert/file", "gates=on"),
        ]  # fmt: skip

    def run(change=lambda steps: steps):
        Pretending.called = []
        made = Pretending(out, [film])
        for step in change(steps()):
            made.run(step)
        return Pretending.called

    run.film, run.out = film, out
    return run


def test_what_is_done_is_not_repeated_and_only_what_hangs_on_a_change_is_made_anew(chain):
    assert chain() == ["person", "people", "expert", "base"]
    assert chain() == []
    chain.film.write_text("another film")
    assert chain() == ["person", "base"]
    (chain.out / "people" / "file").unlink()
    assert chain() == ["people", "expert", "base"]
    off = [Step("base", "base", ("base", "x=1", "gates=on", f"out={chain.out}/base/file"), chain.out / "base" / "file")]
    assert chain(lambda steps: off) == ["base"]
    forced = [Step("base", "base", ("base", "x=1", "gates=off", f"out={chain.out}/base/file"), off[0].leaves)]
    assert chain(lambda steps: forced) == []  # gates decide whether, never what


def test_a_step_that_fails_keeps_its_folder_for_the_next_start(chain):
    Pretending.status = 75
    with pytest.raises(StepError, match=r"stopped at 'person' \(status 75\)"):
        chain()
    (chain.out / "person").mkdir()
    (chain.out / "person" / "half").write_text("half done")
    Pretending.status = 0
    chain()
    assert (chain.out / "person" / "half").exists()
    chain.film.write_text("another film")
    chain()
    assert not (chain.out / "person" / "half").exists()


def test_what_no_step_made_is_never_emptied(chain):
    (chain.out / "people").mkdir()
    (chain.out / "people" / "mine.txt").write_text("mine")
    with pytest.raises(ConfigError, match="was not made by this chain"):
        chain()
    assert (chain.out / "people" / "mine.txt").read_text() == "mine"


def test_two_of_one_folder_are_refused(tmp_path):
    with Chain.opened(tmp_path / "out"), pytest.raises(ConfigError, match="a chain is running there"), \
            Chain.opened(tmp_path / "out"):  # fmt: skip
        pass


def tone(path, seconds=1.0):
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes((np.sin(np.arange(int(16000 * seconds))) * 9000).astype("<i2").tobytes())
    return path


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    out = tmp_path_factory.mktemp("film")
    render_corpus(out=out, speakers=1, clips=1, seconds=1, size=96, seed=1, workers=1)
    return next(out.rglob("*.mp4"))


@pytest.mark.parametrize(("words", "says"), [
    ([], "video= is required"),
    (["video=nowhere.mp4"], r"video=nowhere\.mp4: no such file"),
    (["video=."], "is a folder, and one file is needed"),
    (["video={text}"], "text.mp4"),
    (["video={film}", "speech=nowhere.wav"], r"speech=nowhere\.wav: no such file"),
    (["video={film}", "speech={text}"], "text.mp4"),
    (["video={film}", "base=nowhere.ckpt"], "base=nowhere.ckpt: no such file"),
    (["video={film}", "base={text}"], "not a readable checkpoint"),
    (["video={film}", "speach=a.wav"], r"speach= is unknown\. Did you mean speech\?"),
    (["video={film}", "effort=-1"], "effort=-1 cannot be"),
    (["video={film}", "model=tinny"], r"model=tinny is no choice\. Did you mean tiny\?"),
    (["video={film}", "gates.expert.nothing.least=1"], r"gates\.expert\.nothing\.least= is unknown"),
    (["video={film}", "out=a${{oc.env:HOME}}"], r"is for recipes"),
])  # fmt: skip
def test_bad_input_is_found_before_anything_is_computed(film, tmp_path, monkeypatch, words, says):
    text = tmp_path / "text.mp4"
    text.write_text("no film")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Chain, "_call", lambda *_: pytest.fail("a step was started"))
    with pytest.raises(AnchorError, match=says):
        command.run(["recipe=person", *(word.format(film=film, text=text) for word in words)])


def test_recipes_that_cannot_be_are_sentences(tmp_path):
    for name, text in (("a", "about: x"), ("b", "{{"), ("c", "about: x\ninputs: {out: {}}\nsteps: [{name: x}]")):
        path = tmp_path / f"{name}.yaml"
        path.write_text(text)
        with pytest.raises(ConfigError, match="recipe="):
            load_recipe(str(path))
    with pytest.raises(ConfigError, match=r"Did you mean person\?"):
        load_recipe("persn")


GIVEN = {
    "person": [["video={film}"], ["video={film}", "speech={speech}", "base={base}", "gates=off", "train.seed=3"]],
    "demo": [["speech={speech}"]],
    "base": [[], ["source={film}"]],
}


@pytest.mark.parametrize("name", sorted(GIVEN))
def test_every_command_of_every_recipe_can_be_given(name, film, tmp_path, monkeypatch, generator_checkpoint):
    from hydra import compose, initialize_config_module

    assert sorted(GIVEN) == list_recipes()
    speech = tone(tmp_path / "voice.wav")
    (tmp_path / "out" / "person").mkdir(parents=True)
    (tmp_path / "out" / "person" / "one.mp4").write_text("film")
    monkeypatch.setattr("launch.gates.read_manifest", lambda path: {"train_s": 10.0, "val_s": 1.0})
    for words in GIVEN[name]:
        recipe = load_recipe(name)
        words = [word.format(film=film, speech=speech, base=generator_checkpoint) for word in words]
        read_inputs(recipe, [*words, f"out={tmp_path / 'out'}", "accelerator=cpu"])
        steps = [recipe.step(spec) for spec in recipe.steps()]
        for step in steps:
            if step.words[0] == "train":
                with initialize_config_module("anchor.conf", version_base="1.3"):
                    assert compose("train", list(step.words[1:])).run_dir.startswith(str(tmp_path / "out"))
                continue
            length = 2 if " ".join(step.words[:2]) in COMMANDS else 1
            module, function = COMMANDS[" ".join(step.words[:length])][0].split(":")
            parse_arguments(getattr(__import__(module, fromlist=[function]), function), step.words[length:])


def test_a_gate_holds_with_its_reason_and_what_is_forced_is_shown_at_the_end(tmp_path, monkeypatch, capsys, film):
    def call(self, words):
        target = Path(next(word for word in words if word.startswith(("out=", "run_dir="))).partition("=")[2])
        if words[0] == "train":
            target = target / "checkpoints" / "last.ckpt"
        leaves = {"preprocess": target / "manifest.json", "evaluate": target / "report.html"}.get(words[0], target)
        leaves.parent.mkdir(parents=True, exist_ok=True)
        leaves.write_text("made")
        if words[0] == "evaluate":
            scores = {"self/mouth_psnr": 24.0, "copy/mouth_psnr": 20.0, "self/jitter_ratio": 0.1}
            (target / "scores.json").write_text(json.dumps({"scores": scores}))
        return 0

    monkeypatch.setattr(Chain, "_call", call)
    seconds = {"train_s": 4.0, "val_s": 1.0}
    for place in ("launch.gates", "launch.recipes.command"):
        monkeypatch.setattr(f"{place}.read_manifest", lambda path: dict(seconds))
    words = ["recipe=person", f"video={film}", f"out={tmp_path / 'out'}", "accelerator=cpu"]
    with pytest.raises(GateError, match=r"after \"cut the person's face\".*train_s .*is 4\.000, asked is at least 10"):
        command.run(words)
    assert main(["run", *words]) == 3
    seconds["train_s"] = 40.0
    with pytest.raises(GateError, match=r"after 'score what was held out'.*jitter_ratio .*is 0\.100"):
        command.run(words)
    capsys.readouterr()
    assert command.run([*words, "gates=off"]) == 0
    said = capsys.readouterr().out
    assert said.count("done before") == 8  # nothing was made anew for it
    assert said.count("went past the gate 'avatar' by gates=off: jitter_ratio") == 2  # when it happened, and at the end
    assert json.loads((tmp_path / "out" / "steps.json").read_text())["evaluate"]["gates"][0]["outcome"] == "forced"


DRIVER = """
import sys
from pathlib import Path
from anchor.signals import catch_signals
from launch.recipes.chain import Chain, Step
out = Path(sys.argv[1])
step = Step("people", "people", ("synth", f"out={out}/people", "speakers=400", "clips=4", "workers=1"), out / "never")
catch_signals()
with Chain.opened(out) as chain:
    chain.run(step)
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_signal_to_the_chain_ends_its_step_too(tmp_path, number):
    driver = subprocess.Popen([sys.executable, "-c", DRIVER, str(tmp_path / "out")], stderr=subprocess.PIPE, text=True)
    children = Path(f"/proc/{driver.pid}/task/{driver.pid}/children")
    until = time.monotonic() + 60
    while not list((tmp_path / "out").rglob("*.mp4")) and time.monotonic() < until:
        time.sleep(0.1)
    (child,) = (int(pid) for pid in children.read_text().split())
    driver.send_signal(number)
    said = driver.communicate(timeout=60)[1]
    assert ("KeyboardInterrupt" in said or "TerminatedError" in said) == (number != signal.SIGKILL)
    while Path(f"/proc/{child}").exists() and time.monotonic() < until:
        time.sleep(0.1)
    assert not Path(f"/proc/{child}").exists()
    with Chain.opened(tmp_path / "out") as chain:  # and the folder is free again
        assert not chain.record["people"]["done"]


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """A person who says nothing, one too short, and a picture without a face."""
    out = tmp_path_factory.mktemp("films")
    render_corpus(out=out / "person", speakers=1, clips=1, seconds=5, size=160, seed=1, workers=1)
    person = next((out / "person").rglob("*.mp4"))

    def make(name, *options):
        command_line = [find_ffmpeg(), "-y", "-loglevel", "error", *options, str(out / name)]
        subprocess.run(command_line, check=True)
        return out / name

    still = ("-f", "lavfi", "-i", "testsrc=size=160x160:rate=25:duration=3")
    return {
        "silent": make("silent.mp4", "-i", str(person), "-af", "volume=0", "-c:v", "copy"),
        "short": make("short.mp4", "-i", str(person), "-t", "0.4"),
        "faceless": make("faceless.mp4", *still, "-i", str(person), "-map", "0:v", "-map", "1:a", "-shortest"),
        "brief": person,
    }


@pytest.mark.slow
@pytest.mark.parametrize(("name", "status", "says"), [
    ("silent", 2, "silen"), ("short", 2, "a segment needs 15"), ("faceless", 2, "no face"), ("brief", 3, "train_s"),
])  # fmt: skip
def test_a_video_that_cannot_be_learnt_from_ends_at_the_first_step(films, tmp_path, name, status, says):
    words = [f"video={films[name]}", f"out={tmp_path / 'out'}"]
    done = subprocess.run(
        [sys.executable, "-m", "anchor", "run", "recipe=person", *words],
        capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == status, done.stdout + done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert "[2/" not in done.stdout
