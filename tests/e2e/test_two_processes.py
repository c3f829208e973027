"""Two processes under torchrun, on CPU with gloo: the same training as one, started, recorded and ended once."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from support.project import Project, jsonl, make_project
from support.torchrun import Launched, launch, start

pytestmark = pytest.mark.slow

# The last step of an epoch has one row: the second process gets none.
ROWS = [
    {"prompt": f"State the hypothesis {n}.\n" + "one two three " * (3 * n),
     "completion": f"CLAIM[c1]: one two {n}\nCLAIM[c2] (Document {n}): three four\nRELATION: c2 supports c1"}
    for n in range(1, 10)
]  # fmt: skip
# SGD follows the gradient itself; Adam would blow rounding up where a gradient is almost nothing.
SGD = ("--set", "training.optim=sgd")

SUITE = """
import os
from pathlib import Path

def test_is_alone():
    with Path(os.environ["COUNTED_IN"]).open("a") as file:
        file.write("once\\n")
    assert not {"RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "TORCHELASTIC_RUN_ID"} & set(os.environ)
"""

# A task is code of the user's that every process loads; this one spoils the second process's training.
SABOTAGE = """
import os, signal

from thinker.tasks.scifact_claims import ScifactClaims

class Sabotaged(ScifactClaims):
    pass

if os.environ.get("RANK") == "1" and "SABOTAGE" in os.environ:
    from thinker.training.hf_peft.trainer import PlanTrainer

    compute = PlanTrainer.compute_loss

    def spoiled(self, *args, **kwargs):
        if self.state.global_step == 2:
            if os.environ["SABOTAGE"] == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            raise RuntimeError("the second process has had enough")
        return compute(self, *args, **kwargs)

    PlanTrainer.compute_loss = spoiled
"""


def _project(root: Path, model: Path) -> Project:
    project = make_project(root, model)
    project.replace("pipeline.yaml", "task: prompt_completion", "task: sabotage:Sabotaged")
    project.write("sabotage.py", SABOTAGE)
    project.write("data/train.jsonl", jsonl(ROWS))
    project.replace("pipeline.yaml", "tests:", "tests:\n  enabled: false")
    project.replace(
        "lora.yaml", "max_seq_length: 128", "max_seq_length: 512\n  claim_c1_weight: 5.0\n  evidence_weight: 2.0"
    )
    project.replace("lora.yaml", "per_device_batch_size: 2", "per_device_batch_size: 1")
    return project


@pytest.fixture
def claims(tmp_path: Path, tiny_model: Path) -> Project:
    """Rows of very different lengths, with the weights of the claim task; 6 steps in 2 processes."""
    return _project(tmp_path / "claims", tiny_model)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> tuple[Project, Launched]:
    """A training in two processes that nothing disturbed."""
    project = _project(tmp_path_factory.mktemp("pair") / "claims", tiny_model)
    return project, launch(project, "train", *SGD)


def _error(project: Project) -> str:
    return str(project.record()["error"]["message"])


def test_losses_gradients_and_adapter_equal_those_of_one_process(pair, claims: Project) -> None:
    project, launched = pair
    assert launched.launcher_code == 0, launched.said
    alone = claims.thinker("train", *SGD, "--set", "training.gradient_accumulation_steps=4")
    assert alone.returncode == 0, alone.stderr
    for key in ("loss", "grad_norm", "learning_rate"):
        expected = [step[key] for step in claims.steps()]
        assert [step[key] for step in project.steps()] == pytest.approx(expected, rel=1e-5), key
    trained, expected = (load_file(each.root / "adapter/adapter_model.safetensors") for each in (project, claims))
    assert trained.keys() == expected.keys()
    for name, tensor in expected.items():
        assert np.abs(trained[name] - tensor).max() <= 1e-5 * max(np.abs(tensor).max(), 1e-30), name


def test_the_adapter_is_the_same_bits_when_trained_again(pair, claims: Project) -> None:
    assert launch(claims, "train", *SGD).launcher_code == 0
    assert claims.adapter_sha256() == pair[0].adapter_sha256()


def test_process_0_alone_writes_and_speaks(pair) -> None:
    project, launched = pair
    assert len(list((project.root / "runs").glob("*.json"))) == 1
    record = project.record()
    assert record["status"] == "success"
    assert record["training"]["settings"]["further"]["processes"] == 2
    assert record["training_inputs"]["world_size"] == 2
    assert record["plan"]["steps"] == 6
    assert [step["step"] for step in project.steps()] == [1, 2, 3, 4, 5, 6]
    assert launched.said.count("step 6/6") == 1
    assert launched.said.count("gate passed") == 1


def test_the_gate_runs_once_and_its_suite_finds_itself_alone(claims: Project, tmp_path: Path) -> None:
    claims.replace("pipeline.yaml", "enabled: false", "enabled: true")
    claims.write("tests/test_data.py", SUITE)
    launched = launch(claims, "validate", env={"COUNTED_IN": str(tmp_path / "counted")})
    assert launched.launcher_code == 0, launched.out + launched.said
    assert (tmp_path / "counted").read_text() == "once\n"


def test_held_out_rows_and_evaluation_are_those_of_one_process(claims: Project) -> None:
    claims.replace("pipeline.yaml", "task: sabotage:Sabotaged", "task: prompt_completion")
    held_out = (*SGD, "--set", "data.validation_split=0.4")
    launched = launch(claims, "run", *held_out)
    assert launched.launcher_code == 0, launched.said
    found = claims.record()
    assert len(list((claims.root / "runs").glob("*/predictions.jsonl"))) == 1
    assert claims.thinker("run", *held_out, "--set", "training.gradient_accumulation_steps=4").returncode == 0
    alone = claims.record()
    eval_losses = [record["training"]["metrics"]["eval_loss"] for record in (found, alone)]
    assert eval_losses[0] == pytest.approx(eval_losses[1], rel=1e-5)
    assert found["evaluation"]["metrics"] == alone["evaluation"]["metrics"]


def test_dropout_draws_apart_in_each_process_and_alike_each_time(claims: Project, tmp_path: Path) -> None:
    dropout = ("--set", "lora.lora_dropout=0.3", "--set", "training.max_steps=2")
    hashes = []
    for _ in range(2):
        assert launch(claims, "train", *dropout).launcher_code == 0
        hashes.append(claims.adapter_sha256())
        shutil.rmtree(claims.root / "adapter")
    assert hashes[0] == hashes[1]


@pytest.mark.parametrize(
    ("file", "old", "new", "exit_code"),
    [
        ("pipeline.yaml", "task: sabotage", "tusk: sabotage", 2),
        ("pipeline.yaml", "enabled: false", "enabled: true", 3),
        ("data/train.jsonl", '"completion": "CLAIM[c1]: one two 3', '"completion": "', 4),
    ],
)
def test_all_processes_end_with_the_exit_code_of_process_0(
    claims: Project, file: str, old: str, new: str, exit_code: int
) -> None:
    claims.write("tests/test_data.py", "def test_fails():\n    assert False\n")
    claims.replace(file, old, new)
    launched = launch(claims, "train")
    assert launched.exit_codes == {0: exit_code, 1: exit_code}, launched.said
    assert len([line for line in launched.said.splitlines() if "error:" in line]) == 1, launched.said


def test_an_error_in_another_process_ends_all_and_is_on_record(claims: Project) -> None:
    launched = launch(claims, "train", env={"SABOTAGE": "raise"})
    assert launched.exit_codes == {0: 5, 1: 5}, launched.said
    assert "process 1 of 2" in _error(claims)
    assert "the second process has had enough" in _error(claims)
    assert launched.said.count("the second process has had enough") == 1


def test_a_process_that_is_killed_ends_all_and_is_on_record(claims: Project) -> None:
    launched = launch(claims, "train", env={"SABOTAGE": "kill"})
    assert launched.exit_codes == {0: 5, 1: -9}, launched.said
    assert "process 1 of 2 ended without a word" in _error(claims)


def test_a_failed_training_goes_on_to_the_adapter_of_an_undisturbed_one(pair, claims: Project) -> None:
    """Checkpoints after each step; the second process dies in the third one."""
    save = ("--set", "output.save_steps=1")
    assert launch(claims, "train", *SGD, *save, env={"SABOTAGE": "kill"}).launcher_code == 1
    launched = launch(claims, "train", *SGD, *save)
    assert launched.launcher_code == 0, launched.said
    assert "going on after step 2 of 6" in launched.said
    assert claims.adapter_sha256() == pair[0].adapter_sha256()
    assert [step["step"] for step in claims.steps()] == [1, 2, 3, 4, 5, 6]


LONG = ("--set", "training.num_epochs=60", "--set", "output.save_steps=5")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> str:
    """The adapter of a training that takes long enough to be disturbed, and was not."""
    project = _project(tmp_path_factory.mktemp("long") / "claims", tiny_model)
    assert launch(project, "train", *LONG).launcher_code == 0
    return project.adapter_sha256()


def _to_launcher(process: subprocess.Popen[str], number: int) -> None:
    process.send_signal(number)


def _to_all(process: subprocess.Popen[str], number: int) -> None:
    os.killpg(process.pid, number)


@pytest.mark.parametrize(
    ("send", "number"),
    [(_to_all, signal.SIGKILL), (_to_launcher, signal.SIGTERM), (_to_all, signal.SIGINT)],
    ids=["killed", "terminated", "Ctrl-C"],
)
def test_a_disturbed_training_goes_on_to_the_same_adapter(
    claims: Project, undisturbed: str, send: Callable[[subprocess.Popen[str], int], None], number: int
) -> None:
    process = start(claims, "train", *LONG)
    checkpoints = claims.root / "adapter" / "steps"
    deadline = time.monotonic() + 200
    while not list(checkpoints.glob("*/checkpoint-*")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    send(process, number)
    _, err = process.communicate(timeout=100)
    if number != signal.SIGKILL:
        record = claims.record()
        assert (record["status"], record["exit_code"]) == ("interrupted", 130), err
        assert "which a checkpoint holds" in _error(claims)
    assert not (claims.root / "adapter" / "adapter_model.safetensors").exists()
    launched = launch(claims, "train", *LONG)
    assert "going on after step" in launched.said, launched.said
    assert claims.adapter_sha256() == undisturbed


def test_accelerate_launch_trains_as_torchrun_does(pair, claims: Project) -> None:
    # On a machine without a GPU it starts processes for "GPUs" all the same; with `--cpu` it starts one.
    launcher = (
        "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1",
        "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0", "-m", "thinker",
    )  # fmt: skip
    launched = launch(claims, "train", *SGD, launcher=launcher)
    assert launched.launcher_code == 0, launched.said
    assert claims.adapter_sha256() == pair[0].adapter_sha256()


def test_processes_that_read_other_data_refuse_to_train(claims: Project) -> None:
    """The second process's `lora.yaml` has another learning rate, as on a machine with files of its own."""
    claims.write(
        "sabotage.py",
        SABOTAGE
        + "\nif os.environ.get('RANK') == '1':\n"
        + "    import thinker.pipeline as pipeline\n"
        + "    made = pipeline.training_inputs\n"
        + "    pipeline.training_inputs = lambda *a, **k: {**made(*a, **k), 'recipe': 'another'}\n",
    )
    launched = launch(claims, "train")
    assert launched.exit_codes == {0: 2, 1: 2}, launched.said
    assert "trains on something else than process 0: recipe" in _error(claims)


def test_dividing_the_model_on_a_cpu_is_refused(claims: Project) -> None:
    launched = launch(claims, "train", env={"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"})
    assert launched.exit_codes == {0: 2, 1: 2}, launched.said
    assert "FSDP: accelerate divides a model among CUDA devices alone" in json.dumps(claims.record())


def test_gradients_of_a_model_divided_by_fsdp_are_those_of_one_process(tmp_path: Path, tiny_model: Path) -> None:
    """What accelerate does on GPUs, done by hand where gloo can: FSDP averages gradients as DDP does."""
    from support import divided_gradients

    from thinker.processes import World

    saved = tmp_path / "gradients.pt"
    command = (
        "torch.distributed.run", "--standalone", "--nproc-per-node", "2", divided_gradients.__file__,
        str(tiny_model), str(saved),
    )  # fmt: skip
    launched = subprocess.run(
        [sys.executable, "-m", *command], capture_output=True, text=True, timeout=900, check=False
    )
    assert launched.returncode == 0, launched.stderr
    divided = torch.load(saved, weights_only=True)
    alone = divided_gradients.gradients(divided_gradients.adapted(tiny_model), accumulation=4, world=World())
    assert len(divided) == len(alone) == 2
    for found, expected in zip(divided, alone, strict=True):
        assert found.keys() == expected.keys()
        for name, gradient in expected.items():
            assert (found[name] - gradient).abs().max() <= 1e-5 * gradient.abs().max(), name
