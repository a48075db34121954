"""A real SIGINT to a real process, while it draws."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

SCRIPT = """
import sys
sys.path[:0] = {folders!r}
import anchor.inference.dub as dub
from conftest import StandInDetector
from anchor.__main__ import main
dub.make_detector = lambda name: StandInDetector()
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("output", ["video", "frames"])
def test_ctrl_c_ends_in_a_line_and_leaves_nothing_half(good, tmp_path, speech, output):
    out = tmp_path / "new" / ("out.mp4" if output == "video" else "frames")
    arguments = {**good, "speech": speech(240, name="long.wav"), "out": out, "output": output}
    here = Path(__file__).parent
    script = SCRIPT.format(folders=[str(here), str(here.parent / "support")])
    process = subprocess.Popen(
        [sys.executable, "-c", script, "infer", *(f"{key}={value}" for key, value in arguments.items())],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "TMPDIR": str(tmp_path / "tmp")},
    )
    (tmp_path / "tmp").mkdir()
    pattern = ".*.partial.mp4" if output == "video" else "frames/000003.png"
    deadline = time.monotonic() + 120
    while not list((tmp_path / "new").glob(pattern)):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    said, complained = process.communicate(timeout=60)
    assert process.returncode == 130
    assert complained.splitlines()[-1] == "anchor infer: stopped by Ctrl-C."
    assert "Traceback" not in complained
    assert said == ""
    assert list((tmp_path / "tmp").iterdir()) == []
    left = {path.name for path in out.parent.rglob("*") if path.is_file()}
    if output == "video":
        assert left == set()
    else:
        assert {"frames.json", "speech.wav", "000000.png"} <= left
        assert not any("partial" in name for name in left)
