"""Same inputs, same bits: whatever commands lead there, and whatever the test suite did on the way."""

import shutil

import pytest
from support.project import Project, make_project

NASTY_SUITE = """
import os, random, sys, locale
import numpy as np
import torch

def test_reseeds_and_moves_everything(tmp_path_factory):
    random.seed(99); np.random.seed(99); torch.manual_seed(99)
    os.chdir(tmp_path_factory.getbasetemp())
    os.environ["OMP_NUM_THREADS"] = "3"
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":16:8"
    torch.set_num_threads(3)
    torch.set_default_dtype(torch.float64)
    torch.use_deterministic_algorithms(False)
    torch.set_grad_enabled(False)
    sys.path.insert(0, "/nowhere")
    sys.argv[:] = ["changed"]
"""


@pytest.fixture
def reference(project: Project) -> str:
    """The adapter's hash after one `thinker run`."""
    assert project.thinker("run").returncode == 0
    return project.adapter_sha256()


def test_run_and_validate_then_train_give_the_same_adapter(project: Project, reference: str, tmp_path, tiny_model):
    again = make_project(tmp_path / "elsewhere", tiny_model)
    assert again.thinker("validate").returncode == 0
    nice = ("nice", "-n", "10") if shutil.which("nice") else ()
    assert again.thinker("train", env={"PYTHONHASHSEED": "12345"}, prefix=nice).returncode == 0
    assert again.adapter_sha256() == reference
    digests = [found.record()["digests"] for found in (project, again)]
    assert digests[0] == digests[1]


def test_a_suite_that_changes_the_process_changes_no_adapter(project: Project, reference: str) -> None:
    project.write("tests/test_data.py", NASTY_SUITE)
    done = project.thinker("run")
    assert done.returncode == 0, done.stderr
    assert project.record()["validation"]["tests"]["passed"] == 1
    assert project.adapter_sha256() == reference
