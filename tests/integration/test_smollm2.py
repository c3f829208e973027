"""The real small model of the demo: read from its GGUF file once, then from the cache."""

import json
from pathlib import Path

import pytest

from thinker.data.encode import Encoder
from thinker.modeling.gguf import as_folder
from thinker.tasks.base import LossWeights
from thinker.tasks.scifact_claims import ScifactClaims

pytestmark = pytest.mark.model
SAMPLE = Path(__file__).parents[2] / "examples/scifact/data/train.jsonl"


@pytest.fixture(scope="module")
def folder(smollm2: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return as_folder(smollm2, tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def tokenizer(folder: Path):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


@pytest.fixture(scope="module")
def rows() -> list[dict]:
    return [json.loads(line) for line in SAMPLE.read_text(encoding="utf-8").splitlines()]


def test_the_folder_is_made_once_and_names_no_quantization(folder: Path, smollm2: Path) -> None:
    made = (folder / "model.safetensors").stat().st_mtime_ns
    assert as_folder(smollm2, folder.parents[1]) == folder
    assert (folder / "model.safetensors").stat().st_mtime_ns == made
    assert "quantization_config" not in json.loads((folder / "config.json").read_text(encoding="utf-8"))


def test_the_folders_tokenizer_is_the_files(tokenizer, smollm2: Path, rows: list[dict]) -> None:
    from transformers import AutoTokenizer

    direct = AutoTokenizer.from_pretrained(smollm2.parent, gguf_file=smollm2.name)
    for row in rows[:20]:
        text = row["prompt"] + row["completion"] + " β-catenin μM\t±0.5"
        assert tokenizer(text)["input_ids"] == direct(text)["input_ids"]
    assert (tokenizer.eos_token_id, tokenizer.chat_template) == (direct.eos_token_id, direct.chat_template)


def test_the_weighted_lines_are_weighted_to_the_token(tokenizer, rows: list[dict]) -> None:
    task, encoder = ScifactClaims(), Encoder(tokenizer, "raw")
    for row in rows:
        example = task.example(row)
        encoded = encoder.encode(example, task.weight_spans(example.completion, LossWeights(5.0, 2.0)))
        ids = encoded.ids[encoded.prompt_length :]
        weighted = tokenizer.decode([token for token, w in zip(ids, encoded.weights, strict=True) if w == 5.0])
        # A token that holds the line's last character may hold the line break too.
        assert weighted.rstrip("\n") == row["completion"].split("\n")[0]
        assert encoded.weights[-1] == 1.0


def test_the_demos_rows_fit_its_max_seq_length(tokenizer, rows: list[dict]) -> None:
    encoder, task = Encoder(tokenizer, "raw"), ScifactClaims()
    assert max(len(encoder.encode(task.example(row)).ids) for row in rows) <= 1024
