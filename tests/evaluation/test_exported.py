"""What is shipped is what was scored: an export and its ONNX file give the numbers of their checkpoint."""

import pytest

from anchor.errors import DeviceError
from anchor.evaluation import evaluate_source
from anchor.export import export


def test_exports_are_scored_like_their_checkpoint(tmp_path, minutes, small_generator, save_network):
    checkpoint = save_network(small_generator)
    export(checkpoint=checkpoint, out=tmp_path / "export")
    onnx = tmp_path / "export" / "model.onnx"
    record = evaluate_source(
        minutes,
        out=tmp_path / "report",
        checkpoint=checkpoint,
        compare=(f"folder={tmp_path / 'export'}", f"onnx={onnx}"),
        protocol=("self",),
        reader_steps=0,
        films=0,
        strips=0,
        max_clips=1,
        max_seconds=1,
        device="cpu",
    )
    ours = {name: value for name, value in record["scores"].items() if name.startswith("self/")}
    assert "self/mouth_psnr" in ours
    for name in ("folder", "onnx"):  # bytes may round the other way where two sums differ by 1e-7
        theirs = record["compared"][name]["scores"]
        assert {score: theirs[score] for score in ours} == pytest.approx(ours, rel=1e-3, abs=1e-3), name
        assert theirs["speed/frames_per_second"] > 0
    with pytest.raises(DeviceError, match=r"device=mlu|computed on the CPU"):
        evaluate_source(minutes, out=tmp_path / "no", checkpoint=onnx, device="mlu")
