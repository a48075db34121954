import pytest

from anchor.errors import ConfigError
from launch.build import build
from launch.targets import check_targets


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "torch.load",
        "builtins.eval",
        "subprocess.Popen",
        "lightning.pytorch.Trainer",
        "anchor.models.checkpoint.torch.load",  # through an import
        "anchor.models.load_network",  # a function
        "lightning_modules.callbacks.Path",  # merely imported there
        "datamodules.windows.zlib.crc32",
        "anchor.models.NoSuchNet",
        "torch.optim",
        7,
    ],
)
def test_targets_off_the_list_are_refused_wherever_they_stand(target):
    for config in (
        {"_target_": target},
        {"a": [{"b": {"_target_": target}}]},
        {"module": {"net": {"x": 1, "_target_": target}}},
    ):
        with pytest.raises(ConfigError, match="is not allowed"):
            check_targets(config)


def test_what_our_configurations_name_is_allowed(composed):
    check_targets(composed("quality"))
    check_targets(composed("generator", "logger=wandb"))


def test_a_target_cannot_hide_in_text_that_would_be_resolved_once_more(composed):
    config = composed("syncnet")
    config["module"]["optimizer"]["weight_decay"] = "${oc.create:{_target_: shutil.copyfile, src: a, dst: b}}"
    with pytest.raises(ConfigError, match="still text after resolving"):
        check_targets(config)


def test_nothing_is_built_before_the_check(composed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = composed("syncnet")
    config["callbacks"]["evil"] = {"_target_": "os.system", "command": "touch evil-was-here"}
    with pytest.raises(ConfigError, match=r"callbacks.evil._target_=os.system is not allowed"):
        build(config, machine=None)
    assert not (tmp_path / "evil-was-here").exists()


def test_a_refusal_repeats_no_more_than_it_must():
    for config in ({"_target_": "x" * 70_000}, {"a": {"b": "${" + "x" * 70_000}}):
        with pytest.raises(ConfigError, match="is not allowed") as caught:
            check_targets(config)
        assert len(str(caught.value)) < 1000
