"""A session on its own clock, watched by nobody but the test."""

import asyncio
import io
from concurrent.futures import Future

import av
import numpy as np
from live_server import DrawnPictures

from anchor.serving.avatar import Action, Walk
from anchor.serving.containers import FragmentedMp4
from anchor.serving.drawing import Drawn
from anchor.serving.session import Session
from anchor.serving.sound import make_sound


def loud(seconds: float) -> np.ndarray:
    return make_sound(np.random.default_rng(0).normal(0, 0.2, round(16000 * seconds)).astype(np.float32), 16000)


class Artist:
    """In the place of the drawing process: draws at once, white for every tick, or not at all."""

    def __init__(self) -> None:
        self.session: Session | None = None
        self.requests = []
        self.draws = True

    def submit(self, request):
        self.requests.append(request)
        if self.draws:
            mouth = np.full((48, 96, 3), 255, np.uint8)
            self.session.take(Drawn(request.session, request.avatar, request.epoch, request.tick, mouth, 1, 0.0))
        return True


def assert_every_tick_has_a_picture(numbers, session):
    """But for those that a machine without time leaves out, which are counted."""
    assert numbers == sorted(set(numbers))
    assert numbers[0] == 0
    assert numbers[-1] + 1 - len(numbers) <= session.stats.skipped


def make(pictures, workers, walk=None):
    artist, events = Artist(), []
    session = Session(
        1, "ann", pictures, walk or Walk(Action("idle", 0, len(pictures), "back_and_forth")), artist.submit, workers,
        lambda name, about: events.append((name, about)),
    )  # fmt: skip
    artist.session = session
    return session, artist, events


def test_sound_has_the_clock_of_the_pictures_after_a_while_with_nobody_there(pictures, workers, run):
    async def life():
        session, _, _ = make(pictures, workers)
        viewer = session.hub.join(["h264", "opus", "aac"])
        session.start()
        await viewer.get("aac")
        viewer.close()
        left = session.tick
        while session.tick < left + 15:
            await asyncio.sleep(0.02)
        skipped = session.stats.skipped
        viewer = session.hub.join(["h264", "opus", "aac"])
        picture = await viewer.get("h264")
        most = 4 + session.stats.skipped - skipped  # an encoder begins up to 1024 samples early
        for kind in ("opus", "aac"):
            sound = await viewer.get(kind)
            assert abs(sound.pts - 1920 * picture.pts) < most * 1920
        await session.close()

    run(life())


def test_what_is_said_comes_out_as_sound_and_picture_of_one_clock(pictures, workers, run, monkeypatch):
    monkeypatch.setattr("anchor.serving.session.LATE_TICKS", 10_000)  # none is left out, however slow the machine is

    async def life():
        session, artist, events = make(pictures, workers)
        viewer = session.hub.join(["h264", "opus", "aac"])
        session.timeline.say(loud(0.4), 0)
        session.start()
        packets = {"h264": [], "opus": [], "aac": []}
        while len(packets["h264"]) < 30:
            packets["h264"].append(await viewer.get("h264"))
        await session.close()
        for kind in packets:
            while (packet := await viewer.get(kind)) is not None:
                packets[kind].append(packet)
        numbers = [packet.pts for packet in packets["h264"]]
        assert numbers == list(range(len(numbers)))
        assert packets["h264"][0].is_key
        ticks = len(packets["opus"])
        assert ticks - len(numbers) in (0, 1), "the end may come between the two of a tick"
        assert abs(len(packets["aac"]) * 1024 - ticks * 1920) <= 2 * 1024
        assert [name for name, _ in events] == ["speaking", "silent"]
        assert session.stats.late == 0
        assert session.stats.spoken == 10 + 4  # and the mouth closes
        assert [request.tick for request in artist.requests] == list(range(14))
        return packets

    packets = run(life())
    decoder = av.CodecContext.create("h264", "r")
    shown = [
        frame.to_ndarray(format="rgb24")
        for packet in packets["h264"]
        for frame in decoder.decode(av.Packet(packet.data))
    ]
    shown += [frame.to_ndarray(format="rgb24") for frame in decoder.decode(None)]
    bright = [picture[92:104, 50:78].mean() for picture in shown]
    assert bright[5] > 205, "the drawn mouth is seen"
    assert bright[20] < 185, "and gone"


def test_a_late_picture_never_holds_up_the_clock(pictures, workers, run):
    async def life():
        session, artist, _ = make(pictures, workers)
        artist.draws = False
        viewer = session.hub.join(["h264", "opus"])
        session.timeline.say(loud(0.4), 0)
        session.start()
        numbers = [(await viewer.get("h264")).pts for _ in range(15)]
        await session.close()
        assert_every_tick_has_a_picture(numbers, session)
        assert session.stats.late == 14

    run(life())


def test_after_an_interruption_nothing_old_is_heard_or_seen(pictures, workers, run):
    async def life():
        session, artist, events = make(pictures, workers)
        viewer = session.hub.join(["h264", "opus"])
        session.timeline.say(loud(5.0), 0)
        session.start()
        while session.tick < 8:
            await viewer.get("h264")
        session.interrupt()
        stale = [request for request in artist.requests if request.epoch == 0]
        session.take(Drawn(1, "ann", 0, session.tick + 1, np.zeros((48, 96, 3), np.uint8), 1, 0.0))
        assert not session._mouths, "a picture of the old epoch is left out"
        seen = session.tick
        while session.tick < seen + 15:
            await viewer.get("h264")
        await session.close()
        assert [request for request in artist.requests if request.epoch == 0] == stale
        assert not session.timeline.is_speaking
        assert ("interrupted", {"epoch": 1, "dropped_s": events[1][1]["dropped_s"]}) == events[1]
        assert events[-1][0] == "silent"

    run(life())


def test_nobody_watching_costs_no_encoding(pictures, workers, run):
    async def life():
        session, _, _ = make(pictures, workers)
        session.start()
        while session.tick < 5:
            await asyncio.sleep(0.02)
        assert session._painter._video is None
        await session.close()

    run(life())


def test_a_walk_has_no_seam_and_acts_when_asked():
    walk = Walk(Action("idle", 0, 4, "back_and_forth"), None, [Action("wave", 6, 9)])
    assert [walk.next().number for _ in range(8)] == [0, 1, 2, 3, 2, 1, 0, 1]
    assert walk.act("wave")
    assert not walk.act("dance")
    assert [walk.next() for _ in range(4)] == [(6, True), (7, False), (8, False), (0, True)]
    assert walk.action == ""


def test_a_walk_has_a_stretch_to_speak_in():
    walk = Walk(Action("idle", 0, 4, "around"), Action("speaking", 10, 12, "around"))
    assert [walk.next(is_speaking=i in (2, 3, 4)) for i in range(7)] == [
        (0, False), (1, False), (10, True), (11, False), (10, False), (0, True), (1, False),
    ]  # fmt: skip


def test_a_browsers_stream_is_a_film(pictures, workers, run):
    async def life():
        session, _, _ = make(pictures, workers)
        viewer = session.hub.join(["h264", "aac"])
        film = FragmentedMp4(128, 128)
        session.timeline.say(loud(0.5), 0)
        session.start()
        pieces = []
        for _ in range(30):
            packet = await viewer.get("h264")
            pieces += film.add(packet)
            while not viewer._queues["aac"].empty():
                pieces += film.add(await viewer.get("aac"))
        await session.close()
        pieces += film.close()
        return pieces

    pieces = run(life())
    assert pieces[0][4:8] == b"ftyp"
    assert len(pieces) > 5, "in pieces of about 0.1 s"
    with av.open(io.BytesIO(b"".join(pieces))) as film:
        assert [stream.codec_context.name for stream in film.streams] == ["h264", "aac"]
        assert sum(1 for _ in film.decode(video=0)) == 30


class Waiting:
    """In the place of the pictures' workers: nothing is done before it is let go."""

    def __init__(self, workers):
        self.workers, self.held = workers, []

    def submit(self, do, *arguments):
        self.held.append((future := Future(), do, arguments))
        return future

    def go(self):
        for future, do, arguments in self.held:
            self.workers.submit(do, *arguments).add_done_callback(
                lambda done, into=future: into.set_result(done.result())
            )
        self.held.clear()


def test_an_avatar_is_changed_between_two_pictures(pictures, workers, run):
    """The picture that a worker has not begun is the old avatar's: the new one may not even have it."""

    async def life():
        waiting = Waiting(workers)
        session, _, _ = make(pictures, waiting, Walk(Action("idle", 5, 10, "around")))
        viewer = session.hub.join(["h264"])
        session.start()
        while not waiting.held:
            await asyncio.sleep(0.01)
        session.change("bob", DrawnPictures(2), Walk(Action("idle", 0, 2, "around")))
        waiting.go()
        assert (await viewer.get("h264")).pts == 0
        while session.tick < 3 and session.failure is None:
            waiting.go()
            await asyncio.sleep(0.01)
        assert session.failure is None
        await session.close()

    run(life())


def test_a_mouth_of_the_avatar_before_is_not_shown_on_another(pictures, workers, run):
    async def life():
        session, artist, _ = make(pictures, workers)
        artist.draws = False
        session.timeline.say(loud(1.0), 0)
        session.start()
        while not artist.requests:
            await asyncio.sleep(0.01)
        asked = {request.tick for request in artist.requests if request.tick > session.tick}
        session.change("bob", DrawnPictures(), Walk(Action("idle", 0, 10, "around")))
        again = [request.tick for request in artist.requests if request.avatar == "bob"]
        assert asked <= set(again), "what is planned is drawn anew"
        for name, kept in (("ann", 0), ("bob", 1)):
            session.take(Drawn(1, name, 0, session.tick + 1, np.zeros((48, 96, 3), np.uint8), 1, 0.0))
            assert len(session._mouths) == kept
        await session.close()

    run(life())


def test_a_clock_that_stopped_says_why_and_is_closed_like_any_other(pictures, workers, run):
    async def life():
        session, _, _ = make(pictures, workers)
        session.taps.add(lambda sound_L4: 1 / 0)
        viewer = session.hub.join(["h264"])
        session.start()
        while session.failure is None:
            await asyncio.sleep(0.01)
        assert isinstance(session.failure, ZeroDivisionError)
        await session.close()
        assert await viewer.get("h264") is None

    run(life())
