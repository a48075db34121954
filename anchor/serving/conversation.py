"""A session that is asked and answers: the language model's sentences go to the director as they are written."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from pathlib import Path

from anchor.errors import ConfigError, ServiceError
from anchor.serving.language_model import PROMPT, LanguageModel, Message
from anchor.serving.station import Live, Station
from anchor.speech.growing import GrowingText
from anchor.speech.recognition import Recognizer, open_recognizer
from anchor.speech.text import Sentence, clean_text

__all__ = ["MOST_QUESTION", "Conversation", "Minds", "Talks", "open_minds"]

MOST_QUESTION = 4000  # characters
MOST_MESSAGES, MOST_REMEMBERED = 20, 12_000  # of a session's past, messages and characters; older ones are forgotten
MOST_ANSWER = 6000  # characters of one answer, about six minutes

Tell = Callable[[str, dict[str, object]], None]


class Conversation:
    """One session's questions and answers.

    What is remembered of an answer is what the director took of it: of an interrupted one, the sentences up to there.
    """

    def __init__(self, model: LanguageModel, tell: Tell) -> None:
        self._model, self._tell = model, tell
        self.messages: list[Message] = []

    async def answer(self, question: str) -> AsyncGenerator[Sentence, None]:
        """The sentences of the answer; closing the iterator ends the model's request as well.

        Raises:
            ServiceError: the model cannot be reached, is too slow, breaks off or sends nonsense; the sentences before
                that are whole.
        """
        self._tell("asked", {"text": question})
        growing, said, length = GrowingText(), [], 0
        try:
            stream = self._model.stream([*self.messages, {"role": "user", "content": question}])
            async with contextlib.aclosing(stream) as pieces:
                async for piece in pieces:
                    length += len(piece)
                    for sentence in growing.add(piece):
                        said.append(sentence.text)
                        yield sentence
                    if length > MOST_ANSWER:
                        self._tell(
                            "note", {"text": f"The answer is longer than {MOST_ANSWER} characters, and ends here."}
                        )
                        break
            for sentence in growing.end():
                said.append(sentence.text)
                yield sentence
            if not said:
                raise ServiceError(f"{self._model.name} answered without a word.")
        finally:
            self._remember(question, " ".join(said))

    def _remember(self, question: str, answer: str) -> None:
        self.messages.append({"role": "user", "content": question})
        self.messages.append({"role": "assistant", "content": answer or "..."})
        while len(self.messages) > MOST_MESSAGES or sum(len(one["content"]) for one in self.messages) > MOST_REMEMBERED:
            del self.messages[:2]


@dataclass(frozen=True)
class Minds:
    """What sessions think with; without a model they say what they are told."""

    model: LanguageModel | None = None
    recognizer: Recognizer | None = None


def open_minds(url: str = "", model: str = "", prompt: Path | None = None, asr: str = "") -> Minds:
    """What ``llm.url=``, ``llm.model=``, ``llm.prompt=`` and ``asr=`` ask for.

    Raises:
        ConfigError: one of them cannot be used, or is there without the others.
    """
    if not url:
        if model or prompt:
            raise ConfigError("llm.model= and llm.prompt= need llm.url=, where the model is.")
        return Minds(None, open_recognizer(asr) if asr else None)
    words = PROMPT
    if prompt is not None:
        try:
            words = prompt.read_text(encoding="utf-8-sig").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"llm.prompt={prompt} is no UTF-8 text to be read ({type(error).__name__}).") from None
    return Minds(LanguageModel(url, model, words), open_recognizer(asr) if asr else None)


class Talks:
    """The conversations of a station's sessions.

    Raises:
        ConfigError: there is no model.
    """

    def __init__(self, station: Station, minds: Minds) -> None:
        self._station, self._minds = station, minds
        self._by_id: dict[str, Conversation] = {}

    @property
    def can_answer(self) -> bool:
        """Whether there is a model."""
        return self._minds.model is not None

    def ask(self, live: Live, question: str) -> int:
        """Have a session answer; the number of its utterance.

        Raises:
            BusyError: as many others speak as the machine can draw.
            ConfigError: there is no word in the question, or no model to answer it.
        """
        if self._minds.model is None:
            raise ConfigError("No language model answers here. Start anchor serve with llm.url= and llm.model=.")
        question, notes = clean_text(question)
        for note in notes:
            live.tell("note", {"text": note})
        conversation = self._by_id.get(live.id)
        if conversation is None:
            conversation = self._by_id[live.id] = Conversation(self._minds.model, live.tell)
            live.closers.add(lambda: self._by_id.pop(live.id, None) and None)
        return self._station.say(live, conversation.answer(question))
