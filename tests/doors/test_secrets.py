"""Secrets that are planted everywhere a run could find them stand in no file that it leaves, and in no sentence."""

import os

import pytest
from omegaconf import OmegaConf

from anchor.errors import ConfigError
from anchor.serving.access import describe_readers
from anchor.shards import ShardSet
from launch.cli import check_run
from launch.confidential import check_secrets

PLANTED = {
    "WANDB_API_KEY": "0123456789abcdef0123456789abcdef01234567",
    "AWS_SECRET_ACCESS_KEY": "planted+aws/secret+key",
    "AWS_SESSION_TOKEN": "planted-session-token",
    "LLM_API_KEY": "sk-planted-language-model",
    "WEB_PASSWORD": "planted-web-password",
}
SMALL = ["experiment=syncnet", "accelerator=cpu", "trainer.max_steps=1", "trainer.val_check_interval=1", "seed=3"]
SMALL += ["datamodule.speakers=3", "datamodule.val_speakers=1", "datamodule.clips=1", "datamodule.seconds=1.2"]


@pytest.fixture
def planted(monkeypatch):
    for name, value in PLANTED.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(
    "words",
    [
        ["run_dir=run", "hydra.job.name=${oc.env:WEB_PASSWORD}"],
        ["run_dir=${oc.env:WEB_PASSWORD}"],
        ["-m", "seed=1,2", "hydra.sweep.dir=sweep/${oc.env:WEB_PASSWORD}"],
    ],
)
def test_no_secret_becomes_the_name_of_a_folder_or_a_log(tmp_path, monkeypatch, planted, refused, words):
    """Hydra makes them before a configuration is looked at."""
    monkeypatch.chdir(tmp_path)
    assert "holds the value of $WEB_PASSWORD" in refused("train", *words, *SMALL)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("stage=${oc.env:WANDB_API_KEY}", "holds the value of $WANDB_API_KEY"),
        ("stage=sk-planted-language-model", "holds the value of $LLM_API_KEY"),
        ("+logger.notes='key: planted-session-token'", "holds the value of $AWS_SESSION_TOKEN"),
        ("+datamodule.path=https://me:hush-hush@127.0.0.1:9/set", "an address with a password"),
        ("+datamodule.path=['https://127.0.0.1:9/set?X-Amz-Signature=hush-hush']", "a secret (X-Amz-Signature=)"),
        ("+datamodule.path=https://127.0.0.1:9/set?token=hush-hush&x=1", "a secret (token=)"),
    ],
)
def test_no_secret_comes_into_a_configuration(tmp_path, monkeypatch, planted, refused, word, says):
    monkeypatch.chdir(tmp_path)
    said = refused("train", *SMALL, "run_dir=run", word)
    assert says in said
    assert not any(value in said for value in [*PLANTED.values(), "hush-hush"])
    assert "hush-hush" not in "".join(path.read_text() for path in tmp_path.rglob("*") if path.is_file())
    assert says in refused("run", "recipe=person", f"out={tmp_path / 'out'}", word) or "oc.env" in word


def test_what_is_no_secret_passes(planted):
    check_secrets({"a": "https://host/set?version=3", "b": ["https://me@host/set", "s3://bucket/set", "short"]})
    check_secrets({"c": "https://$WEB_USER:$WEB_PASSWORD@host/set?token=$TOKEN", "d": "https://me:${WEB_PASSWORD}@h/a"})
    check_secrets(["datamodule.path=https://host/set", "seed=1", "--cfg", "job"])


def test_resolved_values_are_looked_at_too(composed_syncnet, planted):
    composed_syncnet.monitor = "${oc.env:AWS_SECRET_ACCESS_KEY}"
    with pytest.raises(ConfigError, match=r"monitor holds the value of \$AWS_SECRET_ACCESS_KEY"):
        check_run(composed_syncnet, here=False)


@pytest.fixture
def composed_syncnet(tmp_path):
    from hydra import compose, initialize_config_module

    with initialize_config_module("anchor.conf", version_base="1.3"):
        config = compose("train", [*SMALL, f"run_dir={tmp_path / 'run'}"])
    OmegaConf.set_struct(config, False)
    return config


def test_an_address_names_the_variable_that_holds_its_secret(planted, monkeypatch):
    from anchor.shards.remote import _fill

    assert _fill("https://me:$WEB_PASSWORD@host/a$b/set") == "https://me:planted-web-password@host/a$b/set"
    monkeypatch.setenv("SIGNED", "a=1&sig=x%20y")
    assert _fill("https://host/set?${SIGNED}") == "https://host/set?a=1&sig=x%20y"
    with pytest.raises(ConfigError, match=r"^https://host/set: its address names \$NOT_THERE, which is not set"):
        ShardSet("https://me:$NOT_THERE@host/set")


@pytest.mark.parametrize(
    ("mode", "says"), [(0o600, None), (0o640, None), (0o644, "may read it"), (0o622, "may change"), (0o666, "read and")]
)
def test_a_token_file_that_others_may_read_is_named(tmp_path, mode, says):
    path = tmp_path / "tokens.json"
    path.write_text("{}")
    path.chmod(mode)
    said = describe_readers(path)
    assert (said is None) if says is None else says in said


@pytest.mark.slow
def test_a_whole_run_leaves_no_secret_anywhere(tmp_path):
    """Trained, tracked, failed and swept: every file is searched, and all that was printed."""
    import subprocess
    import sys

    environment = {**os.environ, **PLANTED, "OMP_NUM_THREADS": "1", "WANDB_MODE": "offline", "TMPDIR": str(tmp_path)}
    said = ""
    for words in (
        ["train", *SMALL, "run_dir=run", "logger=csv_wandb"],
        ["train", *SMALL, "run_dir=failed", "module.lr=-1"],
        ["train", "-m", *SMALL, "hydra.sweep.dir=sweep", "module.lr=1e-3,2e-3"],
        ["check"],
    ):
        done = subprocess.run(
            [sys.executable, "-m", "anchor", *words], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        said += done.stdout + done.stderr
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(path.suffix == ".wandb" for path in files)
    assert any(path.name == "last.ckpt" for path in files)
    assert len(files) > 20
    for name, value in PLANTED.items():
        assert value not in said, name
        for path in files:
            assert value.encode() not in path.read_bytes(), f"{path} holds ${name}"
