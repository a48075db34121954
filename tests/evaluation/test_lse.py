"""The scorer of the original SyncNet, on a network of its shape; its weights are not ours to keep."""

import numpy as np
import pytest
import torch

from anchor.errors import CheckpointError
from anchor.evaluation.lse import distance_curve, score_lse, score_original
from anchor.models.original_syncnet import OriginalSyncNet, load_original_syncnet
from anchor.ops.mfcc import mfcc


def test_a_tone_lights_the_filter_that_holds_it():
    """The cosines and the lifter undone give the log filters back; 1000 Hz lies in the tenth triangle."""
    time = np.arange(16_000) / 16_000
    cepstra = mfcc(0.3 * np.sin(2 * np.pi * 1000 * time))
    assert cepstra.shape == (99, 13)  # 1 + ceil((16000 - 400) / 160), the last one filled with zeros
    place = np.arange(13)
    plain = cepstra[50] / (1 + 11 * np.sin(np.pi * place / 22))
    plain[0] = 0  # holds the energy
    cosines = np.cos(np.pi / 26 * place[:, None] * (np.arange(26) + 0.5))
    edges = 700 * (10 ** (np.linspace(0, 2595 * np.log10(1 + 8000 / 700), 28) / 2595) - 1)
    loudest = int((plain @ cosines).argmax())
    assert edges[loudest] < 1000 < edges[loudest + 2]


def test_the_first_number_is_the_log_energy_of_16_bit_sound():
    rng = np.random.default_rng(0)
    sound = 0.1 * rng.standard_normal(1600)
    first = np.concatenate([sound[:1], sound[1:] - 0.97 * sound[:-1]])[:400] * 32768
    # Parseval: the sum over the half spectrum, with the ends once and the rest once too, of |X|^2 / 512
    spectrum = np.abs(np.fft.rfft(first, 512)) ** 2
    assert mfcc(sound)[0, 0] == pytest.approx(np.log(spectrum.sum() / 512))
    assert np.isfinite(mfcc(np.zeros(1000))).all()
    assert mfcc(np.zeros(10)).shape == (1, 13)


def test_it_equals_the_package_of_that_name_where_it_is_installed():
    theirs = pytest.importorskip("python_speech_features")
    sound = np.random.default_rng(1).integers(-20_000, 20_000, 7777).astype(np.int16)
    assert mfcc(sound / 32768.0) == pytest.approx(theirs.mfcc(sound, 16_000), abs=1e-6)


def test_the_score_of_a_curve():
    generator = torch.Generator().manual_seed(0)
    speech = torch.randn(90, 1024, generator=generator)
    late = torch.roll(speech, -4, 0) + 0.01 * torch.randn(90, 1024, generator=generator)
    curve = distance_curve(late, speech)
    assert curve.shape == (31,)
    found = score_original(curve)
    assert found.offset_frames == 4  # the sound is late
    assert found.lse_d == pytest.approx(float(curve.min()))
    assert found.lse_c == pytest.approx(float(curve.median() - curve.min()))
    assert found.lse_c > 20
    beyond = distance_curve(speech[:1], speech[:1])  # one window: all other shifts are compared with zeros
    assert beyond[0] == pytest.approx(float(speech[0].norm()), rel=1e-3)


@pytest.mark.slow
def test_weights_are_loaded_and_a_clip_is_scored(tmp_path):
    torch.manual_seed(0)
    net = OriginalSyncNet()
    path = tmp_path / "syncnet_v2.model"
    torch.save({key: value for key, value in net.state_dict().items() if "num_batches" not in key}, path)
    loaded = load_original_syncnet(path)
    assert all(torch.equal(value, net.state_dict()[key]) for key, value in loaded.state_dict().items())
    assert not loaded.training
    rng = np.random.default_rng(0)
    faces, sound = rng.integers(0, 256, (16, 96, 96, 3), np.uint8), 0.1 * rng.standard_normal(16 * 640)
    found = score_lse(loaded, faces, sound)
    assert np.isfinite([found.lse_d, found.lse_c]).all()
    assert score_lse(loaded, faces[:8], sound) is None


def test_other_files_are_refused_in_a_sentence(tmp_path):
    path = tmp_path / "other.pt"
    for content, words in [({"a": torch.zeros(2)}, "lacks netcnnaud.0.weight"), ([1], "lacks netcnnaud")]:
        torch.save(content, path)
        with pytest.raises(CheckpointError, match=words):
            load_original_syncnet(path)
    path.write_bytes(b"no weights")
    with pytest.raises(CheckpointError, match="plain weights"):
        load_original_syncnet(path)
    with pytest.raises(CheckpointError, match="no such file"):
        load_original_syncnet(tmp_path / "missing.model")
