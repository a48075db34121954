"""Which checkpoints are kept where a save fails and the training goes on."""

import shutil

import lightning as L
import pytest
import torch

from launch.checkpoints import AtomicCheckpointIO
from launch.trainer import Trainer
from lightning_modules.callbacks import BestCheckpoint, TopCheckpoints


class Scored(L.LightningModule):
    """Has each of ``scores`` at a validation, one after each second step."""

    def __init__(self, scores):
        super().__init__()
        self.scores = iter(scores)
        self.layer = torch.nn.Linear(1, 1)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def training_step(self, batch, batch_idx):
        return self.layer(batch).sum()

    def validation_step(self, batch, batch_idx):
        self.log("val/l1", next(self.scores))


@pytest.fixture
def train(tmp_path, monkeypatch):
    """``train(scores, failing)``: both callbacks, after a training whose saves at the steps ``failing`` fail."""

    def run(scores, failing):
        best = BestCheckpoint(dirpath=tmp_path, filename="best", monitor="val/l1", enable_version_counter=False)
        top = TopCheckpoints(dirpath=str(tmp_path / "top"), monitor="val/l1", save_top_k=2)
        trainer = Trainer(
            on_failed_save="continue", accelerator="cpu", devices=1, max_steps=2 * len(scores), val_check_interval=2,
            num_sanity_val_steps=0, callbacks=[best, top], plugins=[AtomicCheckpointIO()], logger=False,
            enable_progress_bar=False, enable_model_summary=False,
        )  # fmt: skip

        def find_space(target, size):
            if trainer.global_step in failing:
                raise OSError(28, "No space left on device")

        monkeypatch.setattr("launch.checkpoints.writing._check_space", find_space)
        batches = torch.utils.data.DataLoader(torch.ones(2 * len(scores), 1))
        trainer.fit(Scored(scores), batches, torch.utils.data.DataLoader(torch.ones(1, 1)))
        return best, top

    return run


def steps(folder):
    return [torch.load(path, weights_only=True)["global_step"] for path in sorted(folder.glob("*.ckpt"))]


def test_a_score_whose_save_failed_is_none_to_beat(train, tmp_path, capsys):
    best, top = train([5.0, 3.0, 4.0], failing={4})
    assert "TRAINING GOES ON WITHOUT IT" in capsys.readouterr().err
    assert steps(tmp_path) == [6]
    assert float(best.best_model_score) == 4.0
    assert steps(tmp_path / "top") == [2, 6]
    assert sorted(map(float, top.best_k_models.values())) == [4.0, 5.0]


def test_a_first_save_that_fails_leaves_nothing_to_beat(train, tmp_path):
    train([1.0, 2.0], failing={2})
    assert steps(tmp_path) == [4]


def test_checkpoints_of_before_give_back_their_score():
    best = BestCheckpoint(monitor="val/l1")
    assert best.state_key == L.pytorch.callbacks.ModelCheckpoint(monitor="val/l1").state_key
    assert best.state_key != TopCheckpoints(dirpath="x", monitor="val/l1").state_key


@pytest.mark.parametrize("copied", [False, True])
def test_a_folder_that_was_moved_or_copied_keeps_its_best(train, tmp_path, copied):
    best, top = train([3.0, 5.0], failing=set())
    there = tmp_path.with_name(f"{tmp_path.name}-moved")
    shutil.copytree(tmp_path, there)
    if not copied:
        shutil.rmtree(tmp_path)
    for old, new in (
        (best, BestCheckpoint(dirpath=there, filename="best", monitor="val/l1", enable_version_counter=False)),
        (top, TopCheckpoints(dirpath=str(there / "top"), monitor="val/l1", save_top_k=2)),
    ):
        new.load_state_dict(old.state_dict())
        assert new.best_model_score == 3.0
        assert all(path.startswith(str(there)) for path in (new.best_model_path, *new.best_k_models))
        assert new.kth_value == old.kth_value


def test_another_runs_folder_has_a_best_of_its_own(train, tmp_path):
    best, _ = train([3.0, 5.0], failing=set())
    new = BestCheckpoint(dirpath=tmp_path / "fork", filename="best", monitor="val/l1", enable_version_counter=False)
    with pytest.warns(UserWarning, match="dirpath has changed"):
        new.load_state_dict(best.state_dict())
    assert new.best_model_score is None
