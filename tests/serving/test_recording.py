"""Recordings: whole at every moment, plain in the end, bounded, and of nobody else."""

import asyncio
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import pytest
from live_server import open_avatar

from anchor.errors import ConfigError
from anchor.serving.admission import BusyError, Settings
from anchor.serving.recording import GROWING, Recordings
from anchor.serving.sound import make_sound
from anchor.serving.station import Station, UnknownError
from anchor.timing import FPS


@pytest.fixture
def station():
    """One avatar and no process that draws: pictures idle."""
    station = Station(open_avatar, None, Settings(lease_s=0.1))
    station.avatars["ann"] = open_avatar(Path("ann"))
    return station


async def shown(live, ticks):
    begin = live.session.tick
    while live.session.tick < begin + ticks:
        await asyncio.sleep(0.02)


def boxes(path):
    data, place, kinds = path.read_bytes(), 0, []
    while place < len(data):
        kinds.append(data[place + 4 : place + 8].decode())
        place += int.from_bytes(data[place : place + 4], "big")
    return kinds


def probe(path):
    command = ["ffprobe", "-v", "error", "-show_streams", "-show_format", "-count_packets", "-of", "json", str(path)]
    told = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    return {stream["codec_name"]: stream for stream in told["streams"]}, told["format"]


def test_a_recording_is_a_plain_film_that_says_what_it_is(station, tmp_path, run):
    async def life():
        recordings = Recordings(tmp_path / "films")
        live = station.open("ann", "studio")
        one = recordings.begin(live)
        with pytest.raises(ConfigError, match="is being recorded"):
            recordings.begin(live)
        with pytest.raises(UnknownError):
            recordings.find(one.name, "studio")
        live.session.timeline.say(make_sound(av_tone(), 16_000), 0)
        await shown(live, 60)
        assert live.holders, "a recording keeps its session"
        await recordings.end(live)
        skipped = live.session.stats.skipped
        assert not live.holders
        assert recordings.find(one.name, "studio").path == one.path
        with pytest.raises(UnknownError):
            recordings.find(one.name, "somebody")
        again = recordings.begin(live)
        await shown(live, 15)
        await station.close(live)  # the session's end is the recording's
        assert again.state == "finished"
        assert [event["state"] for event in live.events if event["event"] == "recording"] == [
            "recording",
            "finished",
        ] * 2
        return one, again, skipped

    one, again, skipped = run(life())
    assert sorted(path.name for path in (tmp_path / "films").iterdir()) == sorted([one.name, again.name])
    kinds = boxes(one.path)
    assert kinds.index("moov") < kinds.index("mdat")
    assert "moof" not in kinds
    streams, about = probe(one.path)
    assert one.seconds > 2
    ticks = round(one.seconds * FPS)
    assert ticks - skipped <= int(streams["h264"]["nb_read_packets"]) <= ticks
    assert abs(float(streams["h264"]["duration"]) - one.seconds) < 0.05
    assert abs(float(streams["aac"]["duration"]) - one.seconds) < 0.3
    assert "synthetic media" in about["tags"]["comment"]
    assert about["tags"]["title"] == "ann"
    with av.open(str(one.path)) as film:
        shown_at = [round(frame.time * FPS) for frame in film.decode(video=0)]
    assert shown_at == sorted(set(shown_at))
    assert shown_at[0] == 0
    assert ticks - skipped <= len(shown_at) <= ticks  # a machine without time leaves pictures out


def av_tone():
    import numpy as np

    return 0.3 * np.sin(np.arange(16_000) / 10).astype(np.float32)


def test_a_folder_that_changes_beside_a_recording_harms_none(station, tmp_path, run):
    films = tmp_path / "films"

    async def life():
        recordings = Recordings(films)
        (films / "gone.mp4").symlink_to(tmp_path / "nowhere")  # as a file that is removed while the folder is looked at
        live = station.open("ann", "studio")
        one = recordings.begin(live)
        await shown(live, 30)
        await recordings.end(live)
        assert one.state == "finished"
        assert not one.reason
        shutil.rmtree(films)
        films.write_text("in the place of a folder")
        with pytest.raises(BusyError, match="cannot be written to"):
            recordings.begin(live)
        assert not live.holders, "nothing keeps the session"
        await station.close(live)

    run(life())


def test_a_full_disk_ends_the_recording_and_not_the_session(station, tmp_path, run):
    """The limit of a file's size stands in for the disk: both refuse a write half done."""

    async def life():
        recordings = Recordings(tmp_path)
        live = station.open("ann", "studio")
        viewer = live.session.hub.join(["opus"])
        one = recordings.begin(live)
        await shown(live, 60)
        before = one.num_bytes
        assert before
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (before + 100, hard))
        try:
            await asyncio.wait_for(asyncio.shield(one.task), 20)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert "could not be written on" in one.reason
        assert live.events[-1]["reason"] == one.reason
        tick = live.session.tick
        await shown(live, 10)
        assert live.session.tick >= tick + 10, "the session goes on"
        viewer.close()
        await station.close(live)
        return one, before

    one, before = run(life())
    assert one.path.stat().st_size <= before + 100, "whole fragments, for there was no room to make it plain"
    streams, _ = probe(one.path)
    assert int(streams["h264"]["nb_read_packets"]) >= 25
    assert [path.name for path in tmp_path.iterdir()] == [one.name]


@pytest.mark.parametrize(
    ("bounds", "says"), [({"most_minutes": 0.01}, "0.01 minutes"), ({"most_bytes": 6_000}, "6e-06 GB")]
)
def test_bounds_end_a_recording_with_a_sentence(station, tmp_path, run, bounds, says):
    async def life():
        recordings = Recordings(tmp_path, **bounds)
        live = station.open("ann", "studio")
        one = recordings.begin(live)
        await asyncio.wait_for(asyncio.shield(one.task), 30)
        assert says in one.reason
        if "most_bytes" in bounds:
            (tmp_path / "another.mp4").write_bytes(bytes(6_001))
            with pytest.raises(BusyError, match="Remove some"):
                recordings.begin(live)
        await station.close(live)
        return one

    one = run(life())
    assert probe(one.path)


def test_nothing_is_left_of_a_recording_without_a_picture(station, tmp_path, run):
    async def life():
        recordings = Recordings(tmp_path)
        live = station.open("ann", "studio")
        await station.close(live)
        live.session.hub.close()
        one = recordings.begin(live)
        await asyncio.sleep(0.05)
        await recordings.end(live)
        return one.state

    assert run(life()) == "empty"
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_refused(station, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot be written to"):
        Recordings(tmp_path / "file")


RECORD = """
import asyncio, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from live_server import open_avatar
from anchor.serving.recording import Recordings
from anchor.serving.admission import Settings
from anchor.serving.station import Station

async def main():
    station = Station(open_avatar, None, Settings())
    station.avatars["ann"] = open_avatar(Path("ann"))
    one = Recordings(Path(sys.argv[1])).begin(station.open("ann", "studio"))
    while one.num_bytes < 1 or one.seconds < 3:
        await asyncio.sleep(0.05)
    print(one.name, flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


@pytest.mark.slow
def test_what_a_killed_server_recorded_plays_and_is_completed_at_the_next_start(station, tmp_path, run):
    support = Path(__file__).parent.parent / "support"
    command = [sys.executable, "-c", RECORD, str(tmp_path), str(support)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    name = child.stdout.readline().strip()
    assert name, "it recorded"
    recordings = Recordings(tmp_path)
    assert run(recordings.finish_left()) == [], "it is another server's while that lives"
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    growing = tmp_path / (name[:-4] + GROWING)
    streams, about = probe(growing)
    assert int(streams["h264"]["nb_read_packets"]) >= 25
    assert "synthetic media" in about["tags"]["comment"]
    deadline = time.monotonic() + 120
    while not (found := run(recordings.finish_left())):
        assert time.monotonic() < deadline
    assert found == [name]
    assert [path.name for path in tmp_path.iterdir()] == [name]
    plain, about = probe(tmp_path / name)
    assert plain["h264"]["nb_read_packets"] == streams["h264"]["nb_read_packets"]
    assert "synthetic media" in about["tags"]["comment"]
