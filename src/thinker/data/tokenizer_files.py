"""A model's tokenizer from its files alone, without Transformers: the same ids and the same prompts, in milliseconds.

What the files mean is what transformers 5.23 makes of them (`tokenization_utils_base.py`, `_from_pretrained`;
`tokenization_utils_tokenizers.py`, `TokenizersBackend.__init__`). For some models it has a class that builds the
tokenizer anew, whatever `tokenizer.json` says; training therefore compares what it encoded with what the gate saw.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from thinker.config.identity import cached_snapshot
from thinker.config.model_names import is_local
from thinker.data import chat_template
from thinker.errors import PreconditionError
from thinker.modeling.gguf import tokenizer_folder

if TYPE_CHECKING:
    from tokenizers import AddedToken, Tokenizer

_TOKENIZER: Final = "tokenizer.json"
_NAMED: Final = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
_FLAGS: Final = ("single_word", "lstrip", "rstrip", "normalized")


class FileTokenizer:
    """A fast tokenizer that answers as the `transformers` one does, as far as Thinker asks.

    Attributes:
        special_tokens_map: text of the special tokens that have a name (`eos_token`); chat templates may use them.
        chat_template: Jinja source, or several by name; None where the model has none.
    """

    is_fast = True

    def __init__(self, backend: Tokenizer, special_tokens_map: dict[str, str], template: Any) -> None:
        self.special_tokens_map = special_tokens_map
        self.chat_template: str | dict[str, str] | None = template
        self.bos_token_id: int | None = self._id_of("bos_token", backend)
        self.eos_token_id: int | None = self._id_of("eos_token", backend)
        self._backend = backend

    def __call__(
        self, text: str | list[str], *, add_special_tokens: bool, return_offsets_mapping: bool = False
    ) -> dict[str, Any]:
        """`input_ids` of a text, or of each text of a list; with `offset_mapping` the characters that each covers."""
        texts = [text] if isinstance(text, str) else text
        # The fast variant does without offsets.
        encode = self._backend.encode_batch if return_offsets_mapping else self._backend.encode_batch_fast
        found = encode(texts, add_special_tokens=add_special_tokens)
        columns: dict[str, Any] = {"input_ids": [each.ids for each in found]}
        if return_offsets_mapping:
            columns["offset_mapping"] = [each.offsets for each in found]
        return {name: column[0] for name, column in columns.items()} if isinstance(text, str) else columns

    @property
    def added_tokens_decoder(self) -> Mapping[int, AddedToken]:
        """The tokens that are matched before all others, by id."""
        found: Mapping[int, AddedToken] = self._backend.get_added_tokens_decoder()
        return found

    def convert_ids_to_tokens(self, ids: list[int]) -> list[str]:
        """The vocabulary's own spelling of each id."""
        return [str(self._backend.id_to_token(each)) for each in ids]

    def apply_chat_template(
        self, conversation: list[dict[str, str]], *, tokenize: bool, add_generation_prompt: bool, date_string: str
    ) -> str:
        """The text that the model's chat template makes of `conversation`.

        Raises:
            ValueError: there is no template.
            jinja2.TemplateError: it refuses the conversation.
        """
        assert not tokenize, "texts are tokenized in batches"
        template = self.chat_template
        if isinstance(template, dict):
            template = template.get("default")
        if not template:
            raise ValueError("the tokenizer has no chat template, or several and none of them is the default")
        values = {**self.special_tokens_map, "date_string": date_string}
        return chat_template.render(template, conversation, add_generation_prompt=add_generation_prompt, values=values)

    def _id_of(self, name: str, backend: Tokenizer) -> int | None:
        text = self.special_tokens_map.get(name)
        found: int | None = None if text is None else backend.token_to_id(text)
        return found


def model_files(name: str, revision: str | None, cache_dir: Path) -> Path:
    """The folder on this machine that holds a model's tokenizer.

    Args:
        name: hub id, or absolute path of a folder or `.gguf` file.
        revision: of a hub model.
        cache_dir: where the tokenizer of a `.gguf` file is unpacked.

    Raises:
        PreconditionError: there is none; says what to do.
    """
    if is_local(name):
        return Path(name) if Path(name).is_dir() else tokenizer_folder(Path(name), cache_dir)
    folder = cached_snapshot(name, revision)
    if folder is None:
        raise PreconditionError(f"the model {name} is not in the local hub cache; fetch it once: `hf download {name}`")
    return folder


def load_tokenizer_files(folder: Path, *, chat: bool) -> FileTokenizer:
    """The tokenizer whose files lie in `folder`; `chat` if its chat template is to be rendered.

    Raises:
        PreconditionError: a package is missing, or a file, or it cannot be read; says what to do.
    """
    try:
        import tokenizers
    except ImportError as error:
        raise PreconditionError(
            f"the package 'tokenizers' is missing: {error}; {chat_template.HOW_TO_INSTALL}"
        ) from error
    if chat:
        chat_template.require_jinja()
    if not (folder / _TOKENIZER).is_file():
        raise PreconditionError(
            f"{folder} has no {_TOKENIZER}; Transformers makes one: load the tokenizer with "
            "AutoTokenizer.from_pretrained and write it there with save_pretrained"
        )
    try:
        backend = tokenizers.Tokenizer.from_file(str(folder / _TOKENIZER))
        config = _Config(folder)
        _add_tokens(backend, config)
    except Exception as error:  # `tokenizers` raises nothing narrower
        raise PreconditionError(f"the tokenizer in {folder} cannot be read: {error}") from error
    backend.no_truncation()
    backend.no_padding()
    backend.encode_special_tokens = bool(config.values.get("split_special_tokens", False))
    return FileTokenizer(backend, config.special_tokens_map, config.chat_template())


class _Config:
    """`tokenizer_config.json` and the older files beside it.

    Attributes:
        values: the keys of all of them.
        added: tokens by id that `tokenizer.json` may lack.
        special_tokens_map: text of the special tokens with a name.
        special: these, and those without a name, as the files have them.
    """

    def __init__(self, folder: Path) -> None:
        from tokenizers import AddedToken

        self._folder = folder
        self.values: dict[str, Any] = self._json("tokenizer_config.json")
        listed = self.values.get("added_tokens_decoder")
        if listed is None:
            # Since added tokens are listed in tokenizer_config.json, the older files are not read beside it.
            self.values |= self._json("special_tokens_map.json")
        extra = self.values.get("extra_special_tokens") or self.values.get("additional_special_tokens") or []
        named = {key: value for key, value in self.values.items() if key in _NAMED or _is_own_token(key, value)}
        named |= extra if isinstance(extra, dict) else {}
        named = {key: value for key, value in named.items() if value is not None}
        self.special_tokens_map = {key: _text(value) for key, value in named.items()}
        self.special = [*named.values(), *(extra if isinstance(extra, list) else ())]
        self.added: dict[int, AddedToken] = {}
        if listed is not None:
            self.added = {int(index): AddedToken(**token) for index, token in listed.items()}
        else:
            texts = {_text(value) for value in self.special}
            for text, index in self._json("added_tokens.json").items():
                self.added[index] = AddedToken(text, normalized=text not in texts, special=text in texts)

    def chat_template(self) -> str | dict[str, str] | None:
        """Files of their own come before the key of tokenizer_config.json."""
        own = {"default": self._folder / "chat_template.jinja"}
        own |= {path.stem: path for path in (self._folder / "additional_chat_templates").glob("*.jinja")}
        found = {name: path.read_text(encoding="utf-8") for name, path in own.items() if path.is_file()}
        if found:
            return found["default"] if list(found) == ["default"] else found
        listed: Any = self.values.get("chat_template")
        if isinstance(listed, list):
            return {each["name"]: each["template"] for each in listed}
        template: str | dict[str, str] | None = listed
        return template

    def _json(self, name: str) -> dict[str, Any]:
        path = self._folder / name
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        return found


def _add_tokens(backend: Tokenizer, config: _Config) -> None:
    """Add what the configuration knows and `tokenizer.json` does not, in the order in which Transformers does it."""
    from tokenizers import AddedToken

    there = backend.get_added_tokens_decoder().values()
    known = {repr(token) for token in there}
    added = [token for _, token in sorted(config.added.items()) if repr(token) not in known]
    texts = {token.content for token in (*there, *added)}
    named = set(config.special_tokens_map.values())
    for token in added:
        token.special = token.special or token.content in named
    for value in config.special:
        if (text := _text(value)) not in texts:
            texts.add(text)
            options = {key: each for key, each in value.items() if key in _FLAGS} if isinstance(value, dict) else {}
            added.append(AddedToken(text, **{**options, "special": True}))
    if added:
        backend.add_tokens(added)


def _is_own_token(key: str, value: Any) -> bool:
    """Whether a key such as `image_token` names one of the model's own special tokens."""
    return key.endswith("_token") and (isinstance(value, str) or (isinstance(value, dict) and "content" in value))


def _text(value: Any) -> str:
    """A token's text, whether written as such or with its flags."""
    return str(value["content"]) if isinstance(value, dict) else str(value)
