"""The pipeline in one process: what it trains, evaluates and records."""

import json
import shutil
from pathlib import Path

import jsonschema
import pytest
from support.project import CAPITALS, Project, jsonl

from thinker.config import load_experiment
from thinker.runs.schema import record_schema


def test_run_leaves_adapter_predictions_and_a_valid_record(project: Project) -> None:
    assert project.run_here("run") == 0
    record = project.record()
    jsonschema.validate(record, record_schema())
    assert record["status"] == "success"
    assert all(record["digests"][name] for name in ("config", "training", "gate"))
    assert record["training"]["adapter_sha256"] == project.adapter_sha256()
    assert record["validation"]["dataset"]["sha256"] == load_experiment_sha256(project)
    assert record["seeds"] == {"data": 7, "evaluation": 0}
    assert {"tests", "dataset", "encode", "train", "evaluate"} <= set(record["timings_s"])
    assert record["environment"]["device"] == "cpu"
    lines = (project.root / "out/predictions.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["prompt"] for line in lines] == [
        f"What is the capital of {country}?\n" for country in list(CAPITALS)[8:]
    ]
    folder = project.root / "runs" / record["run_id"]
    expected = {"pytest.txt", "steps.jsonl", "loss.png", "predictions.jsonl", "config.resolved.json",
                "environment.json", "run.log"}  # fmt: skip
    assert expected <= {path.name for path in folder.iterdir()}


def load_experiment_sha256(project: Project) -> str:
    return load_experiment(project.root / "pipeline.yaml").dataset.sha256()


def test_plain_peft_loads_the_adapter(project: Project, tiny_model: Path) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    assert project.run_here("train") == 0
    base = AutoModelForCausalLM.from_pretrained(tiny_model)
    ids = AutoTokenizer.from_pretrained(project.root / "adapter")("What", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        before = base(ids).logits
        after = PeftModel.from_pretrained(base, project.root / "adapter")(ids).logits
    assert not torch.equal(before, after)
    card = (project.root / "adapter/README.md").read_text(encoding="utf-8")
    assert project.adapter_sha256() in card


def test_the_loss_falls_and_the_base_model_is_shown_beside_the_adapter(project: Project, capfd) -> None:
    learning = ("lora.target_modules=all-linear", "lora.r=16", "training.learning_rate=0.02", "training.num_epochs=6")
    options = [part for setting in learning for part in ("--set", setting)]
    assert project.run_here("run", *options, "--set", "pipeline.evaluation.compare_base=true") == 0
    record = project.record()
    assert record["training"]["loss_last_quarter"] < record["training"]["loss_first_quarter"]
    assert record["evaluation"]["base_metrics"]["total"] == record["evaluation"]["metrics"]["total"] == 4
    shown = capfd.readouterr().out
    assert "adapter" in shown
    assert "base model" in shown


def test_held_out_rows_are_not_trained_on_and_are_evaluated(project: Project) -> None:
    project.replace("pipeline.yaml", "  data_file: data/eval.jsonl\n", "")
    assert project.run_here("run", "--set", "data.validation_split=0.2", "--set", "output.eval_steps=2") == 0
    record = project.record()
    assert record["training"]["rows"] == 8
    assert len(record["training"]["held_out_rows"]) == 2
    assert record["training"]["metrics"]["eval_loss"] > 0
    rows = [json.loads(line) for line in (project.root / "data/train.jsonl").read_text().splitlines()]
    held_out = [rows[number]["prompt"] for number in record["training"]["held_out_rows"]]
    predictions = (project.root / "out/predictions.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["prompt"] for line in predictions] == held_out


def test_a_suite_that_writes_to_the_dataset_does_not_pass_the_gate(project: Project, capfd) -> None:
    project.write(
        "tests/test_data.py",
        """
from pathlib import Path

def test_writes():
    path = Path(__file__).parents[1] / "data/train.jsonl"
    path.write_text(path.read_text() + '{"prompt": "p", "completion": "c"}\\n')
""",
    )
    assert project.run_here("validate") == 4
    assert "changed while the test suite ran" in capfd.readouterr().err


def test_held_out_rows_of_another_split_are_refused(project: Project, capfd) -> None:
    project.replace("pipeline.yaml", "  data_file: data/eval.jsonl\n", "")
    split = ("-q", "--set", "data.validation_split=0.2")
    assert project.run_here("train", *split) == 0
    assert project.run_here("eval", *split) == 0
    assert project.run_here("eval", *split, "--set", "data.seed=8") == 6
    assert "another split of the rows" in capfd.readouterr().err


def test_a_cached_row_that_was_altered_is_encoded_again(project: Project, capfd) -> None:
    assert project.run_here("run", "--dry-run", "--no-probe") == 0
    arrow = next((project.root / ".thinker/cache/encoded").glob("*/rows.arrow"))
    content = bytearray(arrow.read_bytes())
    content[len(content) // 2] ^= 1
    arrow.write_bytes(content)
    assert project.run_here("run", "--dry-run", "--no-probe") == 0
    assert "encoding them again" in capfd.readouterr().err


def test_a_model_whose_files_lack_weights_is_refused(project: Project, tiny_model: Path, tmp_path: Path, capfd) -> None:
    from safetensors.numpy import load_file, save_file

    model = shutil.copytree(tiny_model, tmp_path / "torn")
    tensors = load_file(model / "model.safetensors")
    del tensors["model.layers.1.mlp.down_proj.weight"]
    save_file(tensors, model / "model.safetensors", metadata={"format": "pt"})
    assert project.run_here("train", "-q", "--set", f"model.name={model.as_posix()}") == 2
    assert "lack 1 of its weights (model.layers.1.mlp.down_proj.weight" in capfd.readouterr().err


def test_biases_that_are_trained_cannot_be_compared_with_the_base_model(project: Project, capfd) -> None:
    assert project.run_here("train", "-q", "--set", "lora.bias=all") == 0
    compared = ("--set", "lora.bias=all", "--set", "pipeline.evaluation.compare_base=true")
    assert project.run_here("eval", "-q", *compared) == 6
    assert "cannot be switched off" in capfd.readouterr().err


def test_a_launchers_environment_that_is_half_there_is_refused(project: Project, monkeypatch, capfd) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert project.run_here("train", "-q") == 2
    assert "the environment lacks RANK" in capfd.readouterr().err


def test_a_task_may_lie_beside_the_pipeline_file_and_its_code_counts(project: Project, tmp_path: Path) -> None:
    plugin = (
        "from thinker.tasks.prompt_completion import PromptCompletion\n\n\nclass Own(PromptCompletion):\n    pass\n"
    )
    project.write("own_task_beside.py", plugin)
    project.replace("pipeline.yaml", "task: prompt_completion", "task: own_task_beside:Own")
    first = project.thinker("--config", str(project.root / "pipeline.yaml"), "train", "--json", cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    project.write("own_task_beside.py", plugin + "    # another version\n")
    second = project.thinker("--config", str(project.root / "pipeline.yaml"), "train", "--json", cwd=tmp_path)
    fingerprints = [json.loads(done.stdout)["digests"]["training"] for done in (first, second)]
    assert fingerprints[0] != fingerprints[1]


def test_a_dry_run_tells_the_plan_and_trains_nothing(project: Project, capfd) -> None:
    assert project.run_here("run", "--dry-run", "--no-probe", "--json") == 0
    record = json.loads(capfd.readouterr().out)
    plan = record["plan"]
    assert (plan["steps"], plan["rows"], plan["held_out_rows"]) == (6, 10, 0)
    assert plan["trained_tokens"] < plan["tokens"]
    assert record["training"] is None
    assert not (project.root / "adapter").exists()
    assert project.run_here("train", "-q") == 0
    assert project.record()["training"]["tokens"] == plan["tokens"]


def test_evaluation_asks_in_the_form_that_the_adapter_was_trained_with(project: Project, capfd) -> None:
    assert project.run_here("train", "-q", "--set", "model.prompt_format=chat") == 0
    assert project.run_here("eval", "-q") == 6
    assert "was trained with model.prompt_format 'chat'" in capfd.readouterr().err
    # Without a recipe it is the adapter that knows.
    text = (project.root / "pipeline.yaml").read_text(encoding="utf-8")
    model = next(line.split()[1] for line in (project.root / "lora.yaml").read_text().splitlines() if "name:" in line)
    start, end = text.index("training:"), text.index("evaluation:")
    section = f"evaluation:\n  base_model: {model}\n  checkpoint_dir: adapter\n"
    project.write("pipeline.yaml", text[:start] + section + text[end + len("evaluation:\n") :])
    assert project.run_here("eval", "-q") == 0
    assert project.record()["evaluation"]["metrics"]["total"] == 4


def test_the_base_models_completions_are_kept_beside_the_adapters(project: Project) -> None:
    assert project.run_here("run", "-q", "--set", "pipeline.evaluation.compare_base=true") == 0
    artifacts = project.record()["artifacts"]
    assert {"predictions", "base_predictions", "output"} <= set(artifacts)
    lines = (project.root / artifacts["base_predictions"]["path"]).read_text(encoding="utf-8").splitlines()
    assert len(lines) == 4


def test_a_null_checkpoint_evaluates_the_base_model(project: Project) -> None:
    assert project.run_here("eval", "--set", "pipeline.evaluation.checkpoint_dir=null") == 0
    record = project.record()
    assert record["evaluation"]["adapter"] is None
    assert record["evaluation"]["metrics"]["total"] == 4
    assert any("base model alone" in warning for warning in record["warnings"])


def test_a_sampled_completion_depends_on_its_record_alone(project: Project) -> None:
    sampled = ("--set", "pipeline.evaluation.temperature=1.0", "--set", "pipeline.evaluation.checkpoint_dir=null")
    completions = []
    for batch_size in (1, 4):
        assert project.run_here("eval", *sampled, "--set", f"pipeline.evaluation.batch_size={batch_size}") == 0
        lines = (project.root / "out/predictions.jsonl").read_text(encoding="utf-8").splitlines()
        completions.append([json.loads(line)["completion"] for line in lines])
    assert completions[0] == completions[1]
    assert len(set(completions[0])) > 1


def test_chat_messages_train_and_evaluate_through_the_template(project: Project) -> None:
    rows = [
        {"messages": [{"role": "system", "content": "Answer."}, {"role": "user", "content": country},
                      {"role": "assistant", "content": city}]}
        for country, city in CAPITALS.items()
    ]  # fmt: skip
    project.write("data/train.jsonl", jsonl(rows))
    project.write("data/eval.jsonl", jsonl(rows[:2]))
    assert project.run_here("run", "--set", "model.prompt_format=chat") == 0
    first = json.loads((project.root / "out/predictions.jsonl").read_text(encoding="utf-8").splitlines()[0])
    assert first["prompt"] == rows[0]["messages"][:2]


def test_max_examples_caps_gate_and_training_alike(project: Project) -> None:
    assert project.run_here("train", "--set", "pipeline.data_validation.max_examples=4") == 0
    record = project.record()
    assert record["validation"]["dataset"]["rows"] == record["training"]["rows"] == 4
    assert record["validation"]["dataset"]["complete"] is False


@pytest.mark.parametrize(
    ("policy", "code"), [("error", 4), ("drop", 0), ("truncate_prompt", 0)], ids=["error", "drop", "truncate_prompt"]
)
def test_a_row_too_long_is_refused_dropped_or_its_prompt_cut(project: Project, policy: str, code: int, capfd) -> None:
    rows = (project.root / "data/train.jsonl").read_text(encoding="utf-8")
    long_row = {"prompt": "one two three " * 60, "completion": "four"}
    project.write("data/train.jsonl", rows + jsonl([long_row]))
    assert project.run_here("train", "--set", f"training.on_overlong={policy}") == code
    if policy == "error":
        assert "train.jsonl:11: " in capfd.readouterr().err
    else:
        training = project.record()["training"]
        assert training["dropped_rows"] == ([10] if policy == "drop" else [])
        assert training["rows"] == (10 if policy == "drop" else 11)


def test_the_second_run_finds_its_rows_in_the_cache(project: Project, capfd) -> None:
    for _ in range(2):
        assert project.run_here("run", "--dry-run", "--no-probe") == 0
    assert "found in the cache" in capfd.readouterr().err
    assert project.run_here("cache", "list") == 0
    assert "encoded" in capfd.readouterr().out
    assert project.run_here("cache", "clear") == 0
    assert not list((project.root / ".thinker/cache/encoded").iterdir())


def test_a_dataset_edited_after_it_was_encoded_is_refused(project: Project) -> None:
    from thinker.errors import DataError
    from thinker.pipeline import ThinkerPipeline
    from thinker.runs import RunRecorder

    experiment = load_experiment(project.root / "pipeline.yaml", command="train")
    recorder = RunRecorder.start(project.root / "runs", command="train", argv=[], config_path=experiment.config_path)
    for _ in range(2):  # encoded anew, then found in the cache
        pipeline = ThinkerPipeline(experiment, recorder)
        pipeline.validate()
        (dataset,) = experiment.dataset.paths
        whole = dataset.read_bytes()
        dataset.write_bytes(whole.replace(b"Paris", b"Pariz"))
        with pytest.raises(DataError, match="changed after it was checked"):
            pipeline.train()
        dataset.write_bytes(whole)
        pipeline.dry_run()
    recorder.finish("failed", 4)
    assert not (project.root / "adapter").exists()
