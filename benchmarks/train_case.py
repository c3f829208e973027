"""What every contender of bench_train.py trains: rows, their token ids, a model folder, one recipe.

Thinker is imported only where rows or a model are made, so that a contender with an environment of its own can read
the case.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

EXAMPLE = Path(__file__).parents[1] / "examples" / "scifact"
GGUF = EXAMPLE / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf"
REAL = "smollm2"
TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj")

# Llama shapes for random weights: SmolLM2-135M, Llama-3.2-1B, Llama-3.1-8B, and one that trains in seconds anywhere.
SHAPES: dict[str, dict[str, Any]] = {
    "tiny": {
        "vocab_size": 1024, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "tie_word_embeddings": False,
    },
    "135m": {
        "vocab_size": 49152, "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30,
        "num_attention_heads": 9, "num_key_value_heads": 3, "tie_word_embeddings": True,
    },
    "1b": {
        "vocab_size": 128256, "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16,
        "num_attention_heads": 32, "num_key_value_heads": 8, "tie_word_embeddings": True,
    },
    "8b": {
        "vocab_size": 128256, "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
        "num_attention_heads": 32, "num_key_value_heads": 8, "tie_word_embeddings": False,
    },
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One training, as each contender is told of it.

    Attributes:
        model: folder with a model and its tokenizer.
        rows: JSONL of `prompt` and `completion`.
        ids: JSON, for each row its token ids and how many of them are the prompt's.
        device: `cpu` or `cuda`.
        max_steps: stops earlier than `epochs` would; None does not.
    """

    model: str
    rows: str
    ids: str
    device: str
    micro_batch: int
    accumulation: int
    epochs: int
    max_steps: int | None
    learning_rate: float
    scheduler: str = "linear"
    optimizer: str = "adamw_torch"
    rank: int = 16
    alpha: int = 32
    targets: tuple[str, ...] = TARGETS
    seed: int = 42

    @classmethod
    def read(cls, path: Path) -> Case:
        """As `write` left it."""
        found = json.loads(path.read_text(encoding="utf-8"))
        return cls(**found | {"targets": tuple(found["targets"])})

    def write(self, path: Path) -> Path:
        """To `path`, as JSON."""
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")
        return path

    def encoded(self) -> list[tuple[list[int], int]]:
        """For each row, its ids and the length of its prompt."""
        return [(ids, prompt) for ids, prompt in json.loads(Path(self.ids).read_text(encoding="utf-8"))]

    def step_rows(self) -> list[range]:
        """The rows of each optimizer step, in order."""
        count, size = len(self.encoded()), self.micro_batch * self.accumulation
        epoch = [range(start, min(start + size, count)) for start in range(0, count, size)]
        return (epoch * self.epochs)[: self.max_steps]


def scifact_rows(folder: Path, rows: int, held_out: int) -> tuple[list[dict[str, str]], list[dict[str, str]], str]:
    """The first rows of SciFact's train claims, converted, the first of its dev claims, and what they are in words.

    Without the full files (THINKER_SCIFACT_DIR), those of the example: fewer are held out.
    """
    from thinker.data.convert import convert_scifact

    source = os.environ.get("THINKER_SCIFACT_DIR")
    place = Path(source) if source else EXAMPLE / "data"
    found = []
    for name in ("claims_train", "claims_dev" if source else "claims_heldout"):
        out = folder / f"{name}.jsonl"
        convert_scifact(place / f"{name}.jsonl", place / "corpus.jsonl", out)
        found.append(read_rows(out))
    train, rest = found
    words = "of SciFact's train claims" if source else "of the example's sample of SciFact"
    return train[:rows], rest[:held_out], words


def read_rows(path: Path) -> list[dict[str, str]]:
    """Prompts and completions of a JSONL file."""
    rows = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    return [{"prompt": row["prompt"], "completion": row["completion"]} for row in rows]


def write_rows(path: Path, rows: Sequence[dict[str, str]]) -> str:
    """As JSONL. Returns the path."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def write_ids(path: Path, rows: Sequence[dict[str, str]], model: Path) -> list[tuple[list[int], int]]:
    """Thinker's token ids of `rows` to `path`, and as found: ids and length of the prompt."""
    from transformers import AutoTokenizer

    from thinker.data.encode import Encoder
    from thinker.tasks.base import Example

    encoder = Encoder(AutoTokenizer.from_pretrained(model), "raw")
    examples = (encoder.encode(Example(row["prompt"], row["completion"])) for row in rows)
    found = [(example.ids, example.prompt_length) for example in examples]
    path.write_text(json.dumps(found), encoding="utf-8")
    return found


def real_model() -> Path:
    """SmolLM2-135M-Instruct, unpacked once from the example's GGUF file.

    Raises:
        SystemExit: the file is not there.
    """
    from thinker.modeling.gguf import as_folder

    gguf = Path(os.environ.get("THINKER_SMOLLM2", GGUF))
    if not gguf.is_file():
        raise SystemExit(f"{gguf} is not there; `make model` fetches it, or name another by THINKER_SMOLLM2")
    return as_folder(gguf, EXAMPLE / ".thinker" / "cache")


def random_model(name: str, folder: Path, rows: Sequence[dict[str, str]], device: str) -> Path:
    """A Llama of shape `name` with random weights in bfloat16, and a tokenizer learned from `rows`; made once."""
    import torch
    from transformers import AutoModelForCausalLM, LlamaConfig

    made = folder / f"model-{name}"
    if (made / "tokenizer.json").is_file():
        return made
    tokenizer = _tokenizer(rows, min(SHAPES[name]["vocab_size"], 16384))
    config = LlamaConfig(
        max_position_embeddings=8192, rope_theta=500000.0, bos_token_id=None, dtype="bfloat16",
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, **SHAPES[name],
    )  # fmt: skip
    torch.manual_seed(0)
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.save_pretrained(made)
    tokenizer.save_pretrained(made)
    return made


def _tokenizer(rows: Sequence[dict[str, str]], vocabulary: int) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    learned = Tokenizer(models.BPE())
    learned.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    learned.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=["<|pad|>", "<|eos|>"], show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    learned.train_from_iterator((text for row in rows for text in row.values()), trainer)
    return PreTrainedTokenizerFast(tokenizer_object=learned, pad_token="<|pad|>", eos_token="<|eos|>")


def required_flops(case: Case) -> float:
    """Floating-point operations that the mathematics of a run asks for, whatever a contender computes beside them.

    For each token 4·N in the layers: 2·N forward and 2·N for the gradients of the activations, as the N frozen weights
    get none (6·N would be full fine-tuning: Kaplan et al. 2020, section 2.1). The same 4·N for the output head, but
    only at tokens with loss. 6·N for the adapter. Causal attention over T tokens takes 2·T²·d forward, d the width of
    all heads together, and twice that backward.
    """
    config = json.loads((Path(case.model) / "config.json").read_text(encoding="utf-8"))
    hidden, layers, heads = config["hidden_size"], config["num_hidden_layers"], config["num_attention_heads"]
    head_width = config.get("head_dim") or hidden // heads
    queries, keys = heads * head_width, config["num_key_value_heads"] * head_width
    attention = {"q_proj": (hidden, queries), "k_proj": (hidden, keys), "v_proj": (hidden, keys),
                 "o_proj": (queries, hidden)}  # fmt: skip
    in_layers = layers * (sum(a * b for a, b in attention.values()) + 3 * hidden * config["intermediate_size"])
    in_adapter = layers * case.rank * sum(sum(attention[target]) for target in case.targets)
    in_head = hidden * config["vocab_size"]
    encoded = case.encoded()
    total = 0.0
    for step in case.step_rows():
        for ids, prompt in (encoded[row] for row in step):
            length = len(ids)
            total += (4 * in_layers + 6 * in_adapter) * length + 4 * in_head * (length - prompt)
            total += 6 * layers * queries * length**2
    return total
