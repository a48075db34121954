"""Nouns and verbs, and how a command ends: in processes of their own where signals and pipes are concerned."""

import errno
import os
import signal
import subprocess
import sys
import time

import pytest

from anchor import signals
from anchor.__main__ import COMMANDS, main

COMMAND = """
import contextlib, errno, os, sys, time
def nap(first: str = "", *, kind: str = "nap", file: str = "made/up.bin"):
    "Do what kind says."
    if kind in ("nap", "slow", "stuck"):
        try:
            print("ready", flush=True)
            time.sleep(60)
        finally:
            if kind != "nap":
                print("leaving", flush=True)
                time.sleep(60 if kind == "stuck" else 1.5)
                print("left", flush=True)
    elif kind == "lines":
        for i in range(200_000):
            print("line", i)
    elif kind == "full":
        with open("/dev/full", "w") as sink:
            sink.write("x" * 100_000)
    elif kind == "memory":
        bytearray(2**62)
    elif kind == "bug":
        raise KeyError("a bug")
    else:
        number = getattr(errno, kind)
        raise OSError(number, os.strerror(number), file or None)
"""
RUN = (
    "import sys; import anchor.__main__ as m; m.COMMANDS['nap'] = ('nap_command:nap', 'nap'); "
    "sys.argv[0] = 'anchor'; sys.exit(m.main())"
)


@pytest.fixture
def start(tmp_path):
    (tmp_path / "nap_command.py").write_text(COMMAND)
    running = []

    def begin(*words, **options):
        process = subprocess.Popen(
            [sys.executable, "-c", RUN, "nap", *words], cwd=tmp_path, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options,
        )  # fmt: skip
        running.append(process)
        return process

    yield begin
    for process in running:
        process.kill()
        process.communicate()


def ended(process):
    out, said = process.communicate(timeout=30)
    return process.returncode, out, said


@pytest.mark.parametrize(
    ("number", "status", "says"),
    [
        (signal.SIGINT, 130, "by Ctrl-C."),
        (signal.SIGTERM, 143, "by SIGTERM."),
        (signal.SIGHUP, 129, "by SIGHUP."),
    ],
)
def test_a_signal_is_one_line_and_a_status(start, number, status, says):
    process = start()
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    assert ended(process) == (status, "", f"anchor nap: stopped {says}\n")


def test_a_second_ctrl_c_lets_the_command_leave(start):
    process = start("kind=slow")
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "leaving\n"
    process.send_signal(signal.SIGINT)
    assert ended(process) == (130, "left\n", "anchor nap: stopped by Ctrl-C.\n")


def test_a_third_ctrl_c_ends_it_at_once(start):
    process = start("kind=stuck")
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "leaving\n"
    while process.poll() is None:  # two signals that meet are one
        process.send_signal(signal.SIGINT)
        time.sleep(0.05)
    assert ended(process) == (130, "", "")


def test_a_reader_that_goes_away_ends_it_in_silence(start):
    process = start("kind=lines")
    assert process.stdout.readline() == "line 0\n"
    process.stdout.close()
    assert process.wait(timeout=30) == 141
    assert process.stderr.read() == ""


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["kind=EACCES"], "made/up.bin: no right to read or write it"),
        (["kind=EROFS"], "made/up.bin: the disk is read-only"),
        (["kind=ENOSPC"], "made/up.bin: the disk is full"),
        (["kind=full"], "the disk is full"),
        (["kind=memory"], "memory ran out"),
    ],
)
def test_a_machine_that_refuses_is_one_sentence(start, words, says):
    status, _, said = ended(start(*words))
    assert status == 2
    assert says in said
    assert said.count("\n") == 1


def test_a_line_that_nobody_takes_ends_no_work():
    words = "tell('lost'); tell('heard', is_trouble=True); tell('lost too'); sys.stdout.flush(); print('lost')"
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-c", f"import sys; from anchor.signals import tell; {words}"],
            stdout=full, stderr=subprocess.PIPE, text=True, timeout=60,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "heard\n")


@pytest.mark.parametrize("kind", ["bug", "ECONNREFUSED", "EPIPE"])
def test_a_bug_keeps_its_traceback(start, kind):
    status, _, said = ended(start(f"kind={kind}"))
    assert status == 1
    assert "Traceback" in said


def test_the_full_disk_is_found_where_the_error_names_no_file(monkeypatch, tmp_path):
    usage = {str(tmp_path): 0}
    monkeypatch.setattr(
        signals.shutil, "disk_usage", lambda place: type("Usage", (), {"free": usage.get(str(place), 2**40)})
    )
    error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert f"{tmp_path / 'new' / 'set'}: the disk is full" in signals.describe_fault(error, [f"out={tmp_path}/new/set"])


def test_a_noun_without_its_verb_names_the_verbs(capsys):
    assert main(["material"]) == 2
    assert "Verbs are check" in capsys.readouterr().err
    assert main(["material", "chekc"]) == 2
    assert "Did you mean check?" in capsys.readouterr().err
    assert main(["models"]) == 2
    assert "Verbs are list, fetch" in capsys.readouterr().err
    assert main(["material", "--help"]) == 0
    assert COMMANDS["material check"][1] in capsys.readouterr().out


def test_an_unknown_command_names_the_nearest(capsys):
    assert main(["materials", "check"]) == 2
    assert "Did you mean material?" in capsys.readouterr().err
    assert main(["preproces"]) == 2
    assert "Did you mean preprocess?" in capsys.readouterr().err


def test_a_command_of_two_words_explains_itself(capsys):
    assert main(["material", "check", "--help"]) == 0
    assert "usage: anchor material check SOURCE key=value" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["material", "check", "nowhere"], ["material", "check", "source=nowhere"]])
def test_the_first_parameter_may_stand_alone(arguments, capsys):
    assert main(arguments) == 2
    assert "source=nowhere does not exist" in capsys.readouterr().err


@pytest.mark.parametrize(("error", "status"), [("KeyboardInterrupt", 130), ("m.TerminatedError", 143)])
def test_an_interrupt_while_code_is_generated_has_its_status_as_well(error, status, tmp_path):
    """As where a dataclass is being made; CPython would end the process by SIGINT."""
    code = f"import sys, anchor.__main__ as m\nm._run = lambda *_: exec('raise {error}')\nsys.exit(m.main(['check']))\n"
    (tmp_path / "interrupted.py").write_text(code)
    done = subprocess.run([sys.executable, "-m", "interrupted"], capture_output=True, cwd=tmp_path)
    assert done.returncode == status
