"""Models with the interfaces of real ones and nothing learnt: a voice that hums, a recogniser that hears two words."""

import json

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

RATE = 22_050
HOP = 1024  # samples of a phoneme


def write_hum(path, metadata=None):
    """A VITS as piper exports it: phonemes (1, T), their number and three scales to sound (1, 1, 1, 1024 T)."""
    hum = (0.2 * np.sin(2 * np.pi * 220 * np.arange(HOP) / RATE)).astype(np.float32)
    nodes = [
        helper.make_node("Cast", ["input"], ["ids"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["ids", "last"], ["column"]),
        helper.make_node("Mul", ["column", "zero"], ["nothing"]),
        helper.make_node("Add", ["nothing", "hum"], ["sound"]),
        helper.make_node("Reshape", ["sound", "shape"], ["output"]),
    ]
    given = {
        "last": np.array([-1], np.int64), "zero": np.zeros(1, np.float32), "hum": hum[None, None],
        "shape": np.array([1, 1, 1, -1], np.int64),
    }  # fmt: skip
    inputs = [
        helper.make_tensor_value_info("input", TensorProto.INT64, ["N", "T"]),
        helper.make_tensor_value_info("input_lengths", TensorProto.INT64, ["N"]),
        helper.make_tensor_value_info("scales", TensorProto.FLOAT, [3]),
    ]
    outputs = [helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, 1, 1, "L"])]
    _save(path, nodes, inputs, outputs, given, metadata or {})


def write_piper(folder):
    """VOICE.onnx and VOICE.onnx.json; returns the first."""
    path = folder / "voice.onnx"
    write_hum(path)
    letters = "_^$ abcdefghijklmnopqrstuvwxyzəɪʊɛæɑɔʌɡŋʃʒθðˈˌːɹɐɚ.,!?"
    about = {
        "audio": {"sample_rate": RATE}, "espeak": {"voice": "en-us"}, "phoneme_type": "espeak",
        "num_symbols": len(letters), "num_speakers": 1,
        "inference": {"noise_scale": 0.667, "length_scale": 1.0, "noise_w": 0.8},
        "phoneme_id_map": {letter: [number] for number, letter in enumerate(letters)},
    }  # fmt: skip
    path.with_name("voice.onnx.json").write_text(json.dumps(about), encoding="utf-8")
    return path


def write_sherpa_voice(folder):
    """The same as a folder for sherpa-onnx."""
    about = {
        "model_type": "vits", "comment": "piper", "language": "English", "voice": "en-us", "has_espeak": "1",
        "n_speakers": "1", "sample_rate": str(RATE),
    }  # fmt: skip
    write_hum(folder / "voice.onnx", about)
    letters = "_^$ abcdefghijklmnopqrstuvwxyzəɪʊɛæɑɔʌɡŋʃʒθðˈˌːɹɐɚ.,!?"
    lines = [f"{letter} {number}" for number, letter in enumerate(letters)]
    (folder / "tokens.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    words = ("good g ʊ d", "evening i v n ɪ ŋ", "everybody ɛ v ɹ i b ɑ d i")
    (folder / "lexicon.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    return folder


def write_recognizer(folder, words=("▁HELLO", "▁THERE")):
    """A zipformer-CTC that hears the same words in everything."""
    tokens = ["<blk>", *words, "<unk>"]
    score = np.full((1, 2 * len(words) + 1, len(tokens)), -20, np.float32)
    for place in range(score.shape[1]):
        score[0, place, place // 2 + 1 if place % 2 else 0] = 0
    nodes = [
        helper.make_node("Identity", ["score"], ["log_probs"]),
        helper.make_node("Identity", ["length"], ["log_probs_len"]),
    ]
    inputs = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", "T", 80]),
        helper.make_tensor_value_info("x_lens", TensorProto.INT64, ["N"]),
    ]
    outputs = [
        helper.make_tensor_value_info("log_probs", TensorProto.FLOAT, ["N", "T1", len(tokens)]),
        helper.make_tensor_value_info("log_probs_len", TensorProto.INT64, ["N"]),
    ]
    about = {"model_type": "zipformer2_ctc", "subsampling_factor": "4", "vocab_size": str(len(tokens))}
    given = {"score": score, "length": np.array([score.shape[1]], np.int64)}
    _save(folder / "model.onnx", nodes, inputs, outputs, given, about)
    lines = [f"{token} {number}" for number, token in enumerate(tokens)]
    (folder / "tokens.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def _save(path, nodes, inputs, outputs, given, metadata):
    constants = [numpy_helper.from_array(value, name) for name, value in given.items()]
    graph = helper.make_graph(nodes, "made_by_a_test", inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    for key, value in metadata.items():
        model.metadata_props.add(key=key, value=value)
    onnx.save(model, str(path))
