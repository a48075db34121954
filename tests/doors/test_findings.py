"""What fuzzing and the audit found, each as it was met."""

import json
import resource
import time

import httpx
import pytest
import torch
from evil import Evil
from live_server import Server

from anchor.errors import CheckpointError, ConfigError, ServiceError
from anchor.files import read_json
from anchor.models import load_network
from anchor.models.card import read_card
from anchor.models.scripts import is_script, load_script
from anchor.serving.access import Access
from anchor.serving.doors import OnlyHere
from anchor.serving.language_model import _parse
from anchor.speech.growing import GrowingText
from anchor.speech.text import clean_text, split_sentences
from launch.confidential import check_secrets

DEEP = "[" * 50_000


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("avatars")
    (folder / "ann").mkdir()
    running = Server(folder, max_sessions=2)
    yield running
    running.stop()


def test_a_body_that_is_no_text_is_refused_without_being_repeated(server):
    """It was status 500: FastAPI's own answer repeats the body, and fails on bytes that are no UTF-8."""
    answer = httpx.post(
        f"{server.url}/api/sessions", content=b'{"avatar": "\x88hush"}', headers={"Content-Type": "a/b"}
    )
    assert answer.status_code == 422
    assert answer.json()["error"].startswith("body: ")
    assert "hush" not in answer.text
    answer = httpx.post(f"{server.url}/api/sessions", json={"avatar": 5})
    assert (answer.status_code, answer.json()) == (422, {"error": "body.avatar: Input should be a valid string."})


def test_what_is_nested_too_deeply_is_refused(tmp_path):
    """A RecursionError is no ValueError."""
    (tmp_path / "a.json").write_text(DEEP)
    assert read_json(tmp_path / "a.json") is None
    with pytest.raises(ConfigError, match="cannot be read"):
        Access.read(tmp_path / "a.json")
    with pytest.raises(CheckpointError, match="it is no JSON"):
        read_card(DEEP, "card.json")
    with pytest.raises(ServiceError, match="no JSON object"):
        _parse(DEEP.encode(), "The model")


@pytest.mark.parametrize(
    ("about", "says"),
    [
        ({"scopes": 5}, "scopes are a list"),
        ({"scopes": "admin"}, "scopes are a list"),
        ({"scopes": ["view"], "per_minute": 10**400}, "per_minute="),
        ({"scopes": ["view"], "per_minute": 0}, "per_minute="),
    ],
)
def test_a_token_file_says_what_it_means(tmp_path, about, says):
    (tmp_path / "tokens.json").write_text(json.dumps({"t" * 20: about}))
    with pytest.raises(ConfigError, match=says):
        Access.read(tmp_path / "tokens.json")


def test_a_token_without_a_name_is_not_everybodys(tmp_path):
    """Nobody's name would find any session by its id."""
    (tmp_path / "tokens.json").write_text(json.dumps({"t" * 20: {"name": "", "scopes": ["view"]}}))
    assert Access.read(tmp_path / "tokens.json").find("t" * 20).name == "unnamed"


@pytest.mark.parametrize("text", ["A. " * 6000, "Dr. " * 5000])
def test_abbreviations_without_end_take_no_time(text):
    """Each end looked at the whole text before it: a language model could hold the server up for minutes."""
    began = time.process_time()
    growing = GrowingText()
    assert growing.add(text) or growing.end()
    assert split_sentences(clean_text(text)[0])
    check_secrets({"a": "x" * 200_000})
    assert time.process_time() - began < 20  # it was minutes


def test_empty_lines_without_end_take_no_time():
    """A mark of a list was looked for from every line, through all the lines behind it."""
    began = time.process_time()
    assert not GrowingText().add("\n" * 60_000 + "a.")
    assert time.process_time() - began < 20  # it was a minute


def test_a_checkpoint_may_say_anything_of_its_network(checkpoint, tmp_path):
    held = torch.load(checkpoint, weights_only=True)
    options = held["hyper_parameters"]["net"]["options"]
    for changed in ({"widths": []}, {"widths": [4]}, {"image_size": -1}, {"strides": "x"}, {"widths": [0, 0, 0]}):
        about = {"net": {**held["hyper_parameters"]["net"], "options": {**options, **changed}}}
        torch.save({**held, "hyper_parameters": about}, tmp_path / "a.ckpt")
        with pytest.raises(CheckpointError) as caught:
            load_network(tmp_path / "a.ckpt", "generator")
        assert len(str(caught.value)) < len(str(tmp_path)) + 600
        assert "\n" not in str(caught.value)
    for content in ({"hyper_parameters": [1], "state_dict": {}}, {"hyper_parameters": {}, "state_dict": 5}):
        torch.save(content, tmp_path / "a.ckpt")
        with pytest.raises(CheckpointError, match="it describes no network"):
            load_network(tmp_path / "a.ckpt", "generator")


@pytest.mark.parametrize(
    "asked",
    [
        {"widths": [4, 6, 60_000]},
        {"widths": [60_000, 60_000, 60_000]},
        {"embedding_size": 2**40},
        {"embedding_size": 2**16, "speech_width": 2**14},
        {"widths": [4] * 70, "strides": [1] * 70},
        {"image_size": 10**6},
        {"num_references": float("nan")},
    ],
    ids=str,
)
def test_a_description_cannot_claim_all_memory(checkpoint, tmp_path, asked):
    """A network was built, weights and all, before anybody looked whether they had come with it."""
    from safetensors.torch import save_file

    from anchor.models.exported import hash_file
    from anchor.ops.mel import mel_config_hash
    from lightning_modules import GeneratorModule

    held = torch.load(checkpoint, weights_only=True)
    net = held["hyper_parameters"]["net"]
    net = {**net, "options": {**net["options"], **asked}}
    torch.save({**held, "hyper_parameters": {"net": net}}, tmp_path / "a.ckpt")
    save_file({"a": torch.zeros(2)}, tmp_path / "model.safetensors")
    card = {"format": "anchor network", "format_version": 1, "kind": "generator", "network": net, "image_size": 32}
    sums = {"model.safetensors": hash_file(tmp_path / "model.safetensors")}
    (tmp_path / "card.json").write_text(json.dumps({**card, "mel_config_hash": mel_config_hash(), "sha256": sums}))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for read in (lambda: load_network(tmp_path / "a.ckpt", "generator"),
                 lambda: load_network(tmp_path, "generator"),
                 lambda: GeneratorModule.load_from_checkpoint(tmp_path / "a.ckpt")):  # fmt: skip
        with pytest.raises(CheckpointError, match="numbers"):
            read()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB


def test_an_archive_may_have_any_names(tmp_path):
    """One that was no UTF-8 was a UnicodeDecodeError."""
    torch.jit.script(torch.nn.ReLU()).save(str(tmp_path / "a.pt"))
    data = bytearray((tmp_path / "a.pt").read_bytes())
    data[data.index(b"PK\x01\x02") + 46] = 0xF5
    (tmp_path / "a.pt").write_bytes(data)
    assert not is_script(tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match="no TorchScript that torch can load"):
        load_script(tmp_path / "a.pt")


@pytest.mark.parametrize(
    ("host", "is_let_in"),
    [
        (b"127.0.0.1:8080", True),
        (b"localhost", True),
        (b"[::1]:8080", True),
        (b"evil.example:8080", False),
        (b"127.0.0.1.evil.example", False),
        (b"", False),
        (b"[", False),
    ],
)
@pytest.mark.parametrize("kind", ["http", "websocket"])
def test_without_tokens_a_foreign_name_of_this_machine_is_not_let_in(host, is_let_in, kind):
    """DNS rebinding: a page's own name is given the address of the viewer's machine."""
    import asyncio

    from anchor.serving.serve import HERE

    reached, sent = [], []

    async def app(scope, receive, send):
        reached.append(scope)

    async def send(message):
        sent.append(message)

    scope = {"type": kind, "headers": [(b"host", host)], "extensions": {"websocket.http.response": {}}}
    asyncio.run(OnlyHere(app, HERE)(scope, None, send))
    assert bool(reached) == is_let_in
    assert is_let_in or sent[0]["status"] == 403


def test_the_marks_of_these_tests_are_made_where_code_runs(tmp_path):
    """A pickle of theirs does leave its mark when somebody unpickles it."""
    import pickle

    pickle.loads(pickle.dumps(Evil(tmp_path / "mark")))
    assert (tmp_path / "mark").exists()
