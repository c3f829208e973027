"""A tokenizer from its files alone gives the ids and the prompts of the one that Transformers loads."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from support.tiny_model import CHAT_TEMPLATE, TEXTS, make_tiny_model

from thinker.data.encode import Encoder
from thinker.data.tokenizer_files import FileTokenizer, load_tokenizer_files, model_files
from thinker.errors import PreconditionError
from thinker.tasks.base import Message

SAMPLE = Path(__file__).parents[3] / "examples/scifact/data/train.jsonl"
ODD = ["", " ", "\n\n a", "<|im_end|>x", "β-catenin μM\t±0.5 <|bos|> <|eos|>", "日本語 🙂 \u0301x", "one <extra> two"]
CONVERSATIONS = [
    "What is asked?",
    (Message("user", "one"),),
    (Message("system", "Be <b>brief</b>."), Message("user", "one"), Message("assistant", "two"), Message("user", "3")),
]


@pytest.fixture
def folder(tiny_model: Path, tmp_path: Path) -> Path:
    """The tokenizer's files of the tiny model, to be changed."""
    names = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "config.json")
    (tmp_path / "model").mkdir()
    for name in names:
        shutil.copy(tiny_model / name, tmp_path / "model" / name)
    return tmp_path / "model"


def change(path: Path, **values: Any) -> None:
    """Set keys of a JSON file; None removes one."""
    found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    found = {key: value for key, value in {**found, **values}.items() if value is not None}
    path.write_text(json.dumps(found), encoding="utf-8")


def same_as_transformers(folder: Path, texts: list[str]) -> FileTokenizer:
    """Ids with and without special tokens, offsets, special tokens and prompts are those of AutoTokenizer."""
    from transformers import AutoTokenizer

    theirs, ours = AutoTokenizer.from_pretrained(folder), load_tokenizer_files(folder, chat=True)
    for special in (False, True):
        expected = theirs(texts, add_special_tokens=special, return_offsets_mapping=True)
        found = ours(texts, add_special_tokens=special, return_offsets_mapping=True)
        assert found["input_ids"] == expected["input_ids"]
        assert [list(map(tuple, row)) for row in found["offset_mapping"]] == [
            list(map(tuple, row)) for row in expected["offset_mapping"]
        ]
        assert ours(texts, add_special_tokens=special)["input_ids"] == expected["input_ids"]
        assert ours(texts[0], add_special_tokens=special)["input_ids"] == expected["input_ids"][0]
    assert (ours.bos_token_id, ours.eos_token_id) == (theirs.bos_token_id, theirs.eos_token_id)
    assert ours.special_tokens_map == theirs.special_tokens_map
    assert {key: repr(token) for key, token in ours.added_tokens_decoder.items()} == {
        key: repr(token) for key, token in theirs.added_tokens_decoder.items()
    }
    if ours.chat_template:
        for prompt in CONVERSATIONS:
            assert Encoder(ours, "chat").prompt_text(prompt) == Encoder(theirs, "chat").prompt_text(prompt)
            assert Encoder(ours, "chat").prompt_ids(prompt) == Encoder(theirs, "chat").prompt_ids(prompt)
    assert Encoder(ours, "raw").leading_ids == Encoder(theirs, "raw").leading_ids
    return ours


def test_the_tiny_models_tokenizer_is_that_of_transformers(folder: Path) -> None:
    assert same_as_transformers(folder, [*TEXTS[:3], *ODD]).eos_token_id == 2


def test_a_tokenizer_that_adds_a_leading_token_does_so(tmp_path: Path) -> None:
    tokenizer = same_as_transformers(make_tiny_model(tmp_path, bos=True), [*TEXTS[:3], *ODD])
    assert Encoder(tokenizer, "raw").leading_ids == (1,)


def test_truncation_and_padding_of_the_file_are_off(folder: Path) -> None:
    file = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    file["truncation"] = {"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0}
    file["padding"] = {"strategy": {"Fixed": 50}, "direction": "Left", "pad_to_multiple_of": None, "pad_id": 0,
                       "pad_type_id": 0, "pad_token": "<|pad|>"}  # fmt: skip
    (folder / "tokenizer.json").write_text(json.dumps(file), encoding="utf-8")
    tokenizer = same_as_transformers(folder, [*TEXTS[:3], *ODD])
    assert 3 < len(tokenizer(TEXTS[0], add_special_tokens=False)["input_ids"]) < 50


def test_tokens_that_only_the_configuration_knows_are_added(folder: Path) -> None:
    extra = {"content": "<extra>", "lstrip": False, "normalized": False, "rstrip": True, "single_word": False,
             "special": True}  # fmt: skip
    change(folder / "tokenizer_config.json", added_tokens_decoder={"512": extra}, image_token="<image>")
    tokenizer = same_as_transformers(folder, [*ODD, "see <image> here"])
    assert {"<extra>", "<image>"} <= {token.content for token in tokenizer.added_tokens_decoder.values()}
    assert tokenizer.special_tokens_map["image_token"] == "<image>"


def test_the_older_files_count_where_the_configuration_lists_no_tokens(folder: Path) -> None:
    change(folder / "tokenizer_config.json", eos_token=None, bos_token=None)
    change(folder / "special_tokens_map.json", eos_token={"content": "<|im_end|>", "lstrip": False, "rstrip": False,
           "normalized": False, "single_word": False}, additional_special_tokens=["<extra>"])  # fmt: skip
    change(folder / "added_tokens.json", **{"<more>": 512})
    tokenizer = same_as_transformers(folder, [*ODD, "a<more>b"])
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id) == (None, 4)


def test_special_tokens_may_be_cut_like_other_text(folder: Path) -> None:
    change(folder / "tokenizer_config.json", split_special_tokens=True)
    assert 4 not in same_as_transformers(folder, ODD)("<|im_end|>", add_special_tokens=False)["input_ids"]


@pytest.mark.parametrize("place", ["key", "list", "file over key", "folder"])
def test_the_chat_template_is_found_wherever_it_stands(folder: Path, place: str) -> None:
    (folder / "chat_template.jinja").unlink()
    config = folder / "tokenizer_config.json"
    if place == "key":
        change(config, chat_template=CHAT_TEMPLATE)
    elif place == "list":
        change(config, chat_template=[{"name": "default", "template": CHAT_TEMPLATE}, {"name": "rag", "template": "-"}])
    else:
        change(config, chat_template="never")
        (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE, encoding="utf-8")
    if place == "folder":
        (folder / "additional_chat_templates").mkdir()
        (folder / "additional_chat_templates/rag.jinja").write_text("-", encoding="utf-8")
    tokenizer = same_as_transformers(folder, ODD)
    assert "<|im_start|>user" in Encoder(tokenizer, "chat").prompt_text("one")


def test_a_hub_model_is_found_in_the_local_cache(folder: Path, tmp_path: Path, monkeypatch) -> None:
    commit = "0123456789" * 4
    model = tmp_path / "hub/models--owner--name"
    (model / "snapshots").mkdir(parents=True)
    (model / "refs").mkdir()
    (model / "refs/main").write_text(commit, encoding="utf-8")
    shutil.copytree(folder, model / "snapshots" / commit)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    for revision in (None, "main", commit):
        assert model_files("owner/name", revision, tmp_path) == model / "snapshots" / commit
    for name, revision in (("owner/name", "other"), ("owner/other", None)):
        with pytest.raises(PreconditionError, match=f"{name} is not in the local hub cache.*hf download {name}"):
            model_files(name, revision, tmp_path)


def test_a_folder_without_a_fast_tokenizer_is_refused_with_advice(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    with pytest.raises(PreconditionError, match=r"has no tokenizer\.json; .*save_pretrained"):
        load_tokenizer_files(folder, chat=False)


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json"])
def test_files_that_are_broken_are_named(folder: Path, name: str) -> None:
    (folder / name).write_text('{"', encoding="utf-8")
    with pytest.raises(PreconditionError, match=f"the tokenizer in {folder} cannot be read"):
        load_tokenizer_files(folder, chat=False)


def test_without_the_package_tokenizers_it_says_what_to_install(folder: Path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(PreconditionError, match=r"'tokenizers' is missing.*pip install '\.\[tokens\]'"):
        load_tokenizer_files(folder, chat=False)


def test_without_jinja_only_chat_is_refused(folder: Path, monkeypatch) -> None:
    import jinja2

    monkeypatch.setattr(jinja2, "__version__", "3.1.5")
    with pytest.raises(PreconditionError, match=r"jinja2 3\.1\.6 or later, not 3\.1\.5; .*\[tokens\]"):
        load_tokenizer_files(folder, chat=True)
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(PreconditionError, match=r"chat templates need jinja2: .*\[tokens\]"):
        load_tokenizer_files(folder, chat=True)
    assert load_tokenizer_files(folder, chat=False).eos_token_id == 2


def test_the_folder_of_an_unpacked_gguf_model_serves_as_it_is(tmp_path: Path, caplog) -> None:
    from importlib.metadata import version

    from thinker.hashing import sha256_file

    gguf = tmp_path / "model.gguf"
    gguf.write_bytes(b"whatever")
    made = tmp_path / "cache/models" / f"{sha256_file(gguf)[:32]}-transformers-{version('transformers')}"
    made.mkdir(parents=True)
    assert model_files(str(gguf), None, tmp_path / "cache") == made
    assert caplog.text == ""


def test_a_gguf_file_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"whatever")
    with pytest.raises(PreconditionError, match=r"model\.gguf: not a GGUF model"):
        model_files(str(tmp_path / "model.gguf"), None, tmp_path / "cache")
    assert not list((tmp_path / "cache/tokenizers").iterdir())


def test_a_gguf_model_needs_transformers_to_be_read(tmp_path: Path, monkeypatch) -> None:
    import importlib.metadata

    def not_installed(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", not_installed)
    (tmp_path / "model.gguf").write_bytes(b"whatever")
    with pytest.raises(PreconditionError, match="takes Transformers; install Thinker with the extra 'hf'"):
        model_files(str(tmp_path / "model.gguf"), None, tmp_path / "cache")


@pytest.mark.model
def test_the_real_models_tokenizer_is_unpacked_alone_and_is_that_of_transformers(
    smollm2: Path, tmp_path: Path, caplog
) -> None:
    with caplog.at_level("INFO", "thinker"):
        folder = model_files(str(smollm2), None, tmp_path)
        assert model_files(str(smollm2), None, tmp_path) == folder
    assert caplog.text.count("tokenizer: reading that of") == 1
    assert folder.parent == tmp_path / "tokenizers"
    assert not list(folder.glob("*.safetensors"))
    rows = [json.loads(line) for line in SAMPLE.read_text(encoding="utf-8").splitlines()]
    same_as_transformers(folder, [*(row["prompt"] for row in rows), *(row["completion"] for row in rows), *ODD])
