"""Files that people send: checkpoints, exports, avatars, pictures, films, sounds, boxes, recipes."""

import io
import json
import pickle
import shutil
import wave
from importlib import resources

import numpy as np
import pytest
import torch
from fuzzing import changed, fuzzed, mutated
from hypothesis import given
from safetensors.numpy import load_file, save_file

from anchor.avatars import Avatar
from anchor.avatars.package import package_id
from anchor.export import export
from anchor.imports.coordinates import parse_coordinates
from anchor.imports.pictures import read_jpeg, read_picture, read_wav
from anchor.inference.still import read_still
from anchor.media import probe, read_audio
from anchor.models import load_network
from anchor.models.card import read_card
from anchor.models.exported import hash_file
from anchor.models.onnx_generator import open_session
from anchor.models.scripts import load_script
from anchor.models.seals import SealingFile, read_seal
from launch.recipes.recipe import load_recipe


@pytest.fixture
def sealed(checkpoint, tmp_path):
    """A checkpoint with its seal, as training leaves one."""
    with (tmp_path / "sealed.ckpt").open("wb") as file:
        sealing = SealingFile(file)
        torch.save(torch.load(checkpoint, weights_only=True), sealing)
        sealing.seal(3, "run", "start", ("a", "b"))
    return (tmp_path / "sealed.ckpt").read_bytes()


def test_checkpoint(watch, checkpoint, tmp_path):
    legacy = io.BytesIO()
    torch.save(torch.load(checkpoint, weights_only=True), legacy, _use_new_zipfile_serialization=False)

    @fuzzed()
    @given(mutated(checkpoint.read_bytes(), legacy.getvalue()))
    def run(data):
        (tmp_path / "a.ckpt").write_bytes(data)
        watch(load_network, tmp_path / "a.ckpt", "generator")

    run()


def test_checkpoint_description(watch, checkpoint, tmp_path):
    held = torch.load(checkpoint, weights_only=True)

    @fuzzed()
    @given(changed(held["hyper_parameters"]))
    def run(about):
        torch.save({**held, "hyper_parameters": about}, tmp_path / "a.ckpt")
        watch(load_network, tmp_path / "a.ckpt", "generator")

    run()


def test_seal(watch, sealed, tmp_path):
    @fuzzed()
    @given(mutated(sealed, sealed[-400:]))
    def run(data):
        (tmp_path / "a.ckpt").write_bytes(data)
        watch(read_seal, tmp_path / "a.ckpt")

    run()


@pytest.fixture
def exported(checkpoint, tmp_path):
    export(checkpoint=checkpoint, out=tmp_path / "export", onnx=False)
    return tmp_path / "export"


def test_export_card(watch, exported):
    card = json.loads((exported / "card.json").read_text())

    @fuzzed()
    @given(changed(card), mutated((exported / "card.json").read_bytes(), b"[" * 50_000))
    def run(tree, data):
        (exported / "card.json").write_text(json.dumps(tree))
        watch(load_network, exported, "generator")
        watch(read_card, data, "card.json")

    run()


def test_safetensors(watch, exported):
    card, weights = json.loads((exported / "card.json").read_text()), exported / "model.safetensors"

    @fuzzed()
    @given(mutated(weights.read_bytes(), weights.read_bytes()[:3000]))
    def run(data):
        weights.write_bytes(data)
        card["sha256"]["model.safetensors"] = hash_file(weights)
        (exported / "card.json").write_text(json.dumps(card))
        watch(load_network, exported, "generator")

    run()


def test_onnx(watch, tmp_path):
    from onnx import helper

    ports = [helper.make_tensor_value_info(name, 1, [4]) for name in "xy"]
    weight = helper.make_tensor("w", 1, [4], np.ones(4, np.float32).tobytes(), raw=True)
    graph = helper.make_graph([helper.make_node("Add", ["x", "w"], ["y"])], "g", ports[:1], ports[1:], [weight])
    seed = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()

    @fuzzed()
    @given(mutated(seed))
    def run(data):
        (tmp_path / "a.onnx").write_bytes(data)
        watch(open_session, tmp_path / "a.onnx")

    run()


def test_torchscript(watch, tmp_path):
    torch.jit.script(torch.nn.ReLU()).save(str(tmp_path / "a.pt"))
    seed = (tmp_path / "a.pt").read_bytes()

    @fuzzed()
    @given(mutated(seed))
    def run(data):
        (tmp_path / "a.pt").write_bytes(data)
        watch(load_script, tmp_path / "a.pt")

    run()


@pytest.fixture
def avatar(built, tmp_path):
    return shutil.copytree(built, tmp_path / "avatar")


def seal_avatar(folder, told):
    told["id"] = package_id(told) if isinstance(told, dict) else None
    (folder / "avatar.json").write_text(json.dumps(told))


def open_avatar(folder):
    opened = Avatar.open(folder)
    try:
        for clip in opened.clips.values():
            for number in (0, len(clip.pictures) - 1):
                assert clip.pictures[number].shape == (opened.size[1], opened.size[0], 3)
            clip.order(5)
    finally:
        opened.close()


def test_avatar_facts(watch, avatar):
    told = json.loads((avatar / "avatar.json").read_text())

    @fuzzed()
    @given(changed(told))
    def run(tree):
        seal_avatar(avatar, tree)
        watch(open_avatar, avatar)

    run()


def test_avatar_bytes(watch, avatar):
    text = (avatar / "avatar.json").read_bytes()

    @fuzzed()
    @given(mutated(text))
    def run(data):
        (avatar / "avatar.json").write_bytes(data)
        watch(open_avatar, avatar)

    run()


@pytest.mark.parametrize("name", ["clips/idle.mp4", "clips/idle.safetensors"], ids=["film", "faces"])
def test_avatar(watch, avatar, name):
    told, seed = json.loads((avatar / "avatar.json").read_text()), (avatar / name).read_bytes()

    @fuzzed()
    @given(mutated(seed, seed[:4000]))
    def run(data):
        (avatar / name).write_bytes(data)
        told["files"][name] = {"bytes": len(data), "sha256": hash_file(avatar / name)}
        seal_avatar(avatar, told)
        watch(open_avatar, avatar)

    run()


def test_avatar_boxes(watch, avatar):
    name = "clips/idle.safetensors"
    told, table = json.loads((avatar / "avatar.json").read_text()), load_file(avatar / name)
    small = {key: value.reshape(-1)[:4].tolist() for key, value in table.items()}

    @fuzzed()
    @given(changed(small))
    def run(tree):
        forged = dict(table)
        for key, values in tree.items():
            if key in table and isinstance(values, list):
                array = table[key].copy()
                with np.errstate(all="ignore"):
                    numbers = [one if isinstance(one, (int, float)) and abs(one) < 1e38 else np.nan for one in values]
                    array.reshape(-1)[: len(numbers)] = np.array(numbers[: array.size], np.float64).astype(array.dtype)
                forged[key] = array
        save_file(forged, avatar / name)
        told["files"][name] = {"bytes": (avatar / name).stat().st_size, "sha256": hash_file(avatar / name)}
        seal_avatar(avatar, told)
        watch(open_avatar, avatar)

    run()


def test_coords_pkl(watch):
    boxes = [(1, 2, 3, 4), (300, 2, 300, 70_000)]
    seeds = [pickle.dumps(boxes, protocol) for protocol in range(5)]
    seeds += [pickle.dumps([tuple(map(np.int64, box)) for box in boxes], protocol) for protocol in (3, 4)]

    @fuzzed()
    @given(mutated(*seeds))
    def run(data):
        watch(parse_coordinates, data, errors=ValueError)

    run()


def test_pictures(watch, tmp_path):
    import cv2

    ramp = np.add.outer(np.arange(40), np.arange(30)).astype(np.uint8)[..., None].repeat(3, 2)
    seeds = [cv2.imencode(kind, ramp)[1].tobytes() for kind in (".png", ".jpg", ".webp", ".bmp", ".tiff")]
    seeds.append(cv2.imencode(".png", np.dstack([ramp, ramp[..., :1]]))[1].tobytes())

    @fuzzed()
    @given(mutated(*seeds))
    def run(data):
        for name, read in (("a.png", read_still), ("a.png", read_picture), ("a.jpg", read_jpeg)):
            (tmp_path / name).write_bytes(data)
            watch(read, tmp_path / name, *([tmp_path] if read is not read_still else []))

    run()


def test_sounds(watch, tmp_path):
    import av

    samples = (np.sin(np.arange(4000) / 9) * 9000).astype(np.int16)
    for name, codec in (("a.wav", "pcm_s16le"), ("a.flac", "flac"), ("a.ogg", "libopus"), ("a.mp3", "libmp3lame")):
        with av.open(str(tmp_path / name), "w") as container:
            stream = container.add_stream(codec, rate=16_000, layout="mono")
            frame = av.AudioFrame.from_ndarray(samples[None], "s16", "mono")
            frame.sample_rate = 16_000
            resampler = av.AudioResampler(stream.format, "mono", 16_000, stream.codec_context.frame_size or 960)
            for piece in [*resampler.resample(frame), *resampler.resample(None), None]:
                container.mux(stream.encode(piece))
    seeds = [path.read_bytes() for path in sorted(tmp_path.iterdir())]

    @fuzzed()
    @given(mutated(*seeds))
    def run(data):
        (tmp_path / "b.wav").write_bytes(data)
        watch(read_audio, tmp_path / "b.wav")
        watch(read_wav, tmp_path / "b.wav", tmp_path)

    run()


def test_wav_header(watch, tmp_path):
    from anchor.imports.pictures import wav_rate

    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setparams((1, 2, 16_000, 100, "NONE", ""))
        file.writeframes(bytes(200))
    seed = (tmp_path / "a.wav").read_bytes()

    @fuzzed()
    @given(mutated(seed))
    def run(data):
        (tmp_path / "a.wav").write_bytes(data)
        watch(wav_rate, tmp_path / "a.wav", tmp_path)

    run()


def test_films(watch, video, tmp_path):
    seed = video.read_bytes()

    @fuzzed()
    @given(mutated(seed, seed[:6000]))
    def run(data):
        (tmp_path / "a.mp4").write_bytes(data)
        watch(probe, tmp_path / "a.mp4")

    run()


def test_recipe(watch, tmp_path):
    seed = (resources.files("anchor.conf") / "recipe" / "person.yaml").read_bytes()

    @fuzzed()
    @given(mutated(seed[:700], b"about: a\ninputs: {out: {}}\nsteps:\n- {name: a, title: b, run: [a], leaves: c}\n"))
    def run(data):
        (tmp_path / "a.yaml").write_bytes(data)
        watch(load_recipe, str(tmp_path / "a.yaml"))

    run()
