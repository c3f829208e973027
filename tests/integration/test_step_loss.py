"""The loss that training reports, and the gradient it follows, are those of the formula, however a step is cut."""

import json

import numpy as np
import pytest
from support.project import Project, jsonl
from support.reference_loss import reference_nll_sum

CLAIM_ROWS = [
    {"prompt": f"State the hypothesis {n}.\n" + "one two three " * (3 * n),
     "completion": f"CLAIM[c1]: one two {n}\nCLAIM[c2] (Document {n}): three four\nRELATION: c2 supports c1"}
    for n in range(1, 9)
]  # fmt: skip
CUTS = [(4, 1), (2, 2), (1, 4)]


@pytest.fixture
def claims(project: Project) -> Project:
    """Rows of very different lengths, with the weights of the claim task."""
    project.replace("pipeline.yaml", "task: prompt_completion", "task: scifact_claims")
    project.write("data/train.jsonl", jsonl(CLAIM_ROWS))
    project.replace(
        "lora.yaml", "max_seq_length: 128", "max_seq_length: 512\n  claim_c1_weight: 5.0\n  evidence_weight: 2.0"
    )
    return project


def reference_loss(model, rows) -> float:
    """Σ weight · nll / Σ weight over `rows`."""
    return reference_nll_sum(model, rows) / sum(sum(row.weights) for row in rows)


def test_the_first_steps_loss_equals_the_formula_in_numpy(claims: Project, tiny_model) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from thinker.data.encode import Encoder
    from thinker.data.plan import Plan
    from thinker.tasks.base import LossWeights
    from thinker.tasks.scifact_claims import ScifactClaims

    assert claims.run_here("train", "-q", "--set", "training.max_steps=1") == 0
    task, encoder = ScifactClaims(), Encoder(AutoTokenizer.from_pretrained(tiny_model), "raw")
    first = Plan(len(CLAIM_ROWS), True, 7, 2, 2, 2).step(0)
    rows = []
    for number in first.rows:
        example = task.example(CLAIM_ROWS[number])
        rows.append(encoder.encode(example, task.weight_spans(example.completion, LossWeights(5.0, 2.0))))
    assert {5.0, 2.0, 1.0} <= {weight for row in rows for weight in row.weights}
    # A fresh adapter changes nothing yet: the base model's loss is the first step's.
    model = AutoModelForCausalLM.from_pretrained(tiny_model).eval()
    assert claims.steps()[0]["loss"] == pytest.approx(reference_loss(model, rows), rel=1e-6)


def test_losses_and_adapters_do_not_depend_on_how_a_step_is_cut(claims: Project) -> None:
    from safetensors.numpy import load_file

    losses, tensors = [], []
    for size, accumulation in CUTS:
        cut = (f"training.per_device_batch_size={size}", f"training.gradient_accumulation_steps={accumulation}")
        options = [part for setting in cut for part in ("--set", setting)]
        # SGD follows the gradient itself; Adam would blow rounding up where a gradient is almost nothing.
        assert claims.run_here("train", "-q", *options, "--set", "training.optim=sgd") == 0
        losses.append([step["loss"] for step in claims.steps()])
        tensors.append(load_file(claims.root / "adapter/adapter_model.safetensors"))
    for other_losses, other_tensors in zip(losses[1:], tensors[1:], strict=True):
        assert other_losses == pytest.approx(losses[0], rel=1e-5)
        for name, tensor in tensors[0].items():
            scale = np.abs(tensor).max()
            assert np.abs(other_tensors[name] - tensor).max() <= 1e-5 * max(scale, 1e-30), name


def test_the_evaluation_loss_is_the_formula_over_all_held_out_rows(claims: Project) -> None:
    losses = []
    for size in (1, 2):
        options = ("--set", "data.validation_split=0.4", "--set", "training.learning_rate=1e-12")
        assert claims.run_here("train", "-q", *options, "--set", f"training.per_device_batch_size={size}") == 0
        losses.append(claims.record()["training"]["metrics"]["eval_loss"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


def test_the_step_log_holds_each_step_once(claims: Project) -> None:
    assert claims.run_here("train", "-q") == 0
    record = claims.record()
    lines = (claims.root / "runs" / record["run_id"] / "steps.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["step"] for line in lines] == list(range(1, record["training"]["steps"] + 1))
