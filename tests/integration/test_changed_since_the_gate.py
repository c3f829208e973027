"""What changes between the gate and its use, or while it is read, is refused and leaves nothing that looks complete."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.project import Project, make_project

from thinker.config import load_experiment
from thinker.errors import DataError
from thinker.pipeline import Command, ThinkerPipeline
from thinker.runs import RunRecorder

# Edits the dataset when it reads its third row, once the file `edit-now` says so.
EDITING_TASK = """
from pathlib import Path

from thinker.tasks.prompt_completion import PromptCompletion

ROOT = Path(__file__).parent


class Editing(PromptCompletion):
    rows = 0

    def example(self, row):
        self.rows += 1
        if self.rows == 3 and (ROOT / "edit-now").exists():
            with (ROOT / "data/train.jsonl").open("a") as file:
                file.write('{"prompt": "What?", "completion": "That."}\\n')
        return super().example(row)
"""


@pytest.fixture
def experiment(tmp_path: Path, tiny_model: Path) -> Project:
    """A project with a model of its own, which a test may change."""
    model = shutil.copytree(tiny_model, tmp_path / "model")
    return make_project(tmp_path / "project", model)


@pytest.fixture
def pipelines(experiment: Project) -> Iterator[list[ThinkerPipeline]]:
    """One that is to train, and one that is to evaluate the base model, both with the gate behind them."""
    made = []
    for command, overrides in (("train", ()), ("eval", ("pipeline.evaluation.checkpoint_dir=null",))):
        made.append(pipeline_for(experiment, command, overrides))
        made[-1].validate()
    yield made
    for pipeline in made:
        pipeline.recorder.finish("failed", 4)


def pipeline_for(project: Project, command: Command, overrides: tuple[str, ...]) -> ThinkerPipeline:
    loaded = load_experiment(project.root / "pipeline.yaml", command=command, overrides=overrides)
    recorder = RunRecorder.start(project.root / "runs", command=command, argv=[], config_path=loaded.config_path)
    return ThinkerPipeline(loaded, recorder)


def nothing_looks_complete(project: Project) -> bool:
    encoded = list((project.root / ".thinker/cache/encoded").glob("*"))
    return not encoded and not (project.root / "adapter").exists() and not (project.root / "out").exists()


def test_a_dataset_edited_after_the_gate(experiment: Project, pipelines: list[ThinkerPipeline]) -> None:
    experiment.replace("data/train.jsonl", "Paris", "paris")
    with pytest.raises(DataError, match="changed after it was checked"):
        pipelines[0].train()
    assert nothing_looks_complete(experiment)


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja"])
def test_a_tokenizer_edited_after_the_gate(
    experiment: Project, pipelines: list[ThinkerPipeline], tmp_path: Path, name: str
) -> None:
    path = tmp_path / "model" / name
    path.write_text(path.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    with pytest.raises(DataError, match=rf"model.name:{name} changed after it was checked; run `thinker validate`"):
        pipelines[0].train()
    assert nothing_looks_complete(experiment)


def test_a_file_of_the_tokenizer_that_is_gone_after_the_gate(
    experiment: Project, pipelines: list[ThinkerPipeline], tmp_path: Path
) -> None:
    (tmp_path / "model/chat_template.jinja").unlink()
    with pytest.raises(DataError, match=r"model.name:chat_template.jinja is no longer there after it was checked"):
        pipelines[0].train()
    assert nothing_looks_complete(experiment)


def test_records_edited_between_gate_and_evaluation(experiment: Project, pipelines: list[ThinkerPipeline]) -> None:
    experiment.replace("data/eval.jsonl", "Accra", "accra")
    with pytest.raises(DataError, match=r"data/eval.jsonl changed after it was checked; run `thinker validate` again"):
        pipelines[1].evaluate()
    assert nothing_looks_complete(experiment)


def test_what_did_not_change_is_evaluated(experiment: Project, pipelines: list[ThinkerPipeline]) -> None:
    assert pipelines[1].evaluate().records == 4
    assert (experiment.root / "out/predictions.jsonl").is_file()


@pytest.mark.parametrize("accepted", [False, True], ids=["gate run", "receipt accepted"])
def test_a_dataset_edited_while_encoding_reads_it(project: Project, accepted: bool) -> None:
    """Even behind the place that was read last: the bytes read are those of the gate, the file is another."""
    project.write("editing_task.py", EDITING_TASK)
    project.replace("pipeline.yaml", "task: prompt_completion", "task: editing_task:Editing")
    if accepted:
        assert project.thinker("validate", "-q").returncode == 0
        project.write("edit-now", "")
    else:
        # The gate reads the rows of train and evaluation before encoding does.
        project.write("editing_task.py", EDITING_TASK.replace("== 3", "== 17"))
        project.write("edit-now", "")
    done = project.thinker("train")
    assert done.returncode == 4, done.stderr
    assert ("gate: passed before" in done.stderr) is accepted
    assert "changed after it was checked; run `thinker validate` again" in done.stderr
    assert nothing_looks_complete(project)


@pytest.mark.parametrize("name", ["data/eval.jsonl", "rows.schema.json"])
def test_what_the_checks_rest_on_must_not_change_while_the_suite_runs(project: Project, capfd, name: str) -> None:
    project.write("rows.schema.json", '{"title": "rows"}')
    project.replace("pipeline.yaml", "data_validation:\n", "data_validation:\n  schema: rows.schema.json\n")
    project.write(
        "tests/test_data.py",
        f"""
from pathlib import Path

def test_writes():
    path = Path(__file__).parents[1] / {name!r}
    path.write_text(path.read_text() + "\\n")
""",
    )
    assert project.run_here("validate") == 4
    assert f"error: {name} changed while the gate ran" in capfd.readouterr().err
    assert not (project.root / ".thinker/receipts").exists()
