"""What a session is told to say, when something in it fails."""

import asyncio

import numpy as np

from anchor.errors import ServiceError
from anchor.serving.director import Director
from anchor.serving.timeline import Timeline
from anchor.speech.synthesis import SoundChunk


class Still:
    """In the place of a session: a timeline that nobody plays."""

    def __init__(self):
        self.timeline = Timeline()


def test_an_utterance_that_fails_in_whatever_way_is_told_and_the_next_one_is_spoken(run):
    events = []

    async def speak(sentence, tell):
        if sentence.text == "Broken.":
            raise ServiceError("No voice.")
        if sentence.text == "Odd.":
            raise ZeroDivisionError("by zero")
        yield SoundChunk(np.zeros(1600, np.float32), 16000)

    async def life():
        director = Director(Still(), speak, lambda name, about: events.append((name, about)))
        for text in ("Broken.", "Odd.", "Good."):
            director.say(text)
        while director.is_busy:
            await asyncio.sleep(0.01)
        await director.close()

    run(life())
    reasons = [about["reason"] for name, about in events if name == "failed"]
    assert reasons == ["No voice.", "ZeroDivisionError: by zero"]
    assert events[-1] == ("uttered", {"number": 3, "sentences": 1})
