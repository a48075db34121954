"""The Kubernetes manifest and the SLURM preset: what they say is what our command understands."""

from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf

from launch.options import check_launch

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def documents():
    text = (ROOT / "docs" / "kubernetes.yaml").read_text(encoding="utf-8")
    return {document["kind"]: document for document in yaml.safe_load_all(text)}


def test_the_pods_of_the_manifest_find_the_first_one(documents, monkeypatch):
    service, job = documents["Service"], documents["Job"]
    template = job["spec"]["template"]["spec"]
    container = template["containers"][0]
    assert container["command"] == ["anchor", "train"]
    with initialize_config_module("anchor.conf", version_base="1.3"):
        config = OmegaConf.to_container(compose("train", container["args"]), resolve=True)
    assert config["accelerator"]["name"] == "mlu"
    assert config["accelerator"]["nodes"] == job["spec"]["completions"] == job["spec"]["parallelism"]
    assert str(config["accelerator"]["devices"]) == container["resources"]["limits"]["cambricon.com/mlu"]
    monkeypatch.setenv("JOB_COMPLETION_INDEX", "1")
    launch = check_launch(config["launch"], config["accelerator"]["nodes"])
    assert launch["node_rank"] == 1
    host, port = launch["rendezvous"].split(":")
    name = job["metadata"]["name"]
    assert host == f"{name}-0.{service['metadata']['name']}"
    assert template["subdomain"] == service["metadata"]["name"]
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["selector"] == {"job-name": name}
    assert service["spec"]["ports"][0]["port"] == int(port)


def test_the_manifest_gives_time_to_save_and_knows_the_statuses(documents):
    job = documents["Job"]["spec"]
    assert job["completionMode"] == "Indexed"
    template = job["template"]["spec"]
    assert template["restartPolicy"] == "Never"  # as podFailurePolicy asks for
    with initialize_config_module("anchor.conf", version_base="1.3"):
        config = compose("train", template["containers"][0]["args"])
    assert template["terminationGracePeriodSeconds"] > config.launch.stop_timeout_s + 10
    actions = {rule["action"]: rule["onExitCodes"]["values"] for rule in job["podFailurePolicy"]["rules"]}
    assert actions == {"FailJob": [2], "Ignore": [75, 143]}
    volumes = {volume["name"] for volume in template["volumes"]}
    mounts = {mount["name"]: mount["mountPath"] for mount in template["containers"][0]["volumeMounts"]}
    assert set(mounts) == volumes
    assert config.run_dir.startswith(mounts["shared"])


def test_the_slurm_preset_asks_for_the_nodes_and_cards_of_the_run():
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    words = ["hydra/launcher=slurm", "experiment=syncnet", "accelerator=mlu8", "accelerator.nodes=2"]
    with initialize_config_module("anchor.conf", version_base="1.3"):
        config = compose("train", [*words, "hydra.launcher.partition=mlu"], return_hydra_config=True)
    launcher = config.hydra.launcher
    assert launcher._target_.endswith("SlurmLauncher")
    assert (launcher.nodes, launcher.tasks_per_node, launcher.gres) == (2, 1, "mlu:8")
    assert launcher.partition == "mlu"
    assert launcher.signal_delay_s > config.launch.stop_timeout_s
