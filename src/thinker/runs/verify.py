"""`thinker verify`: every hash that a record names, computed again from what is there now."""

from __future__ import annotations

import contextlib
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Literal

from thinker import plugins
from thinker.config import Experiment
from thinker.config.fingerprint import config_fingerprint, training_fingerprint
from thinker.config.identity import model_identity
from thinker.config.model_names import is_local
from thinker.data.dataset_files import combined_sha256
from thinker.errors import EvaluationError, ThinkerError
from thinker.hashing import digest, sha256_file
from thinker.runs.files import spell_path
from thinker.runs.origin import RecordedRun
from thinker.runs.verify_gate import NotCheckedError, encoding_sha256, gate_digest
from thinker.training.hf_peft.artifacts import ADAPTER_CONFIG, ADAPTER_WEIGHTS, MANIFEST, read_manifest
from thinker.validation.receipt import ReceiptError, read_receipt

Status = Literal["ok", "changed", "missing", "not checked"]
Key = tuple[str, ...]

_HASH: Final = re.compile(r"[0-9a-f]{64}")
_MANIFEST_FILES: Final = {"adapter_sha256": ADAPTER_WEIGHTS, "adapter_config_sha256": ADAPTER_CONFIG}


@dataclass(frozen=True)
class Verdict:
    """What became of one hash.

    Attributes:
        what: what it is the hash of.
        path: the file or folder that was read for it; empty where none was.
        status: `not checked` says in `detail` why.
        recorded: the hash.
        keys: where in the record it stands, dotted; empty for hashes that only the adapter's manifest names.
        detail: what the status does not say.
    """

    what: str
    path: str
    status: Status
    recorded: str
    keys: tuple[str, ...] = ()
    detail: str = ""


def verify(run: RecordedRun) -> list[Verdict]:
    """A verdict on every hash of the record, in its order, then on those of the adapter's manifest; writes nothing.

    The task of the experiment is imported, as the gate does; torch and Transformers are not.
    """
    with contextlib.chdir(run.folder):
        checks = _Checks(run)
        document = run.record.model_dump(mode="json")
        found = [checks.verdict(key, value) for key, value in hashes(document)]
        return _merged([*found, *checks.manifest()])


def hashes(value: Any, key: Key = ()) -> Iterator[tuple[Key, str]]:
    """Every SHA-256 in JSON data, with the keys that lead to it."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield from hashes(item, (*key, name))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from hashes(item, (*key, str(index)))
    elif isinstance(value, str) and _HASH.fullmatch(value):
        yield key, value


def counts(verdicts: list[Verdict]) -> dict[Status, int]:
    """How many hashes came out which way."""
    found = Counter(each.status for each in verdicts)
    return {
        "ok": found["ok"],
        "changed": found["changed"],
        "missing": found["missing"],
        "not checked": found["not checked"],
    }


class _Checks:
    """How each hash of a record is computed again; what several need is made once."""

    def __init__(self, run: RecordedRun) -> None:
        self._run, self._record = run, run.record

    def verdict(self, key: Key, recorded: str) -> Verdict:
        """The verdict on the hash that stands at `key`."""
        return replace(self._verdict(key, recorded), keys=(".".join(key),))

    def _verdict(self, key: Key, recorded: str) -> Verdict:
        match key:
            case ("inputs", index, "sha256"):
                file = self._record.inputs[int(index)]
                return _of_file(file.role, self._run.place(file.path), recorded)
            case ("artifacts", name, "sha256"):
                path = self._run.artifact(name)
                assert path is not None, "it is listed"
                return _of_file(f"artifact {name}", path, recorded)
            case ("validation", "dataset", "files", index, "sha256"):
                return _of_file("dataset", self._dataset_paths()[int(index)], recorded)
            case ("validation", "dataset", "sha256") | ("training_inputs", "dataset"):
                return self._computed("dataset as a whole", "", recorded, self._dataset)
            case ("validation", "dataset", "statistics", "encoding_sha256"):
                return self._computed("encoded rows", "", recorded, self._encoding)
            case ("validation", "receipt", "digest"):
                return self._receipt(recorded)
            case ("training", "adapter_sha256") | ("evaluation", "adapter", "sha256"):
                return _of_file("adapter", self._adapter(key[0]) / ADAPTER_WEIGHTS, recorded)
            case ("training" | "evaluation", "base_model", "identity", *inside):
                return self._base_model(inside[-1], recorded)
            case ("training_inputs", "base_model"):
                return self._computed("base model as a whole", self._base_model_path, recorded, self._identity_digest)
            case ("training_inputs", "plugins", role):
                return self._computed(f"code of the {role}", "", recorded, lambda: self._plugin_source(role))
            case ("digests", "config"):
                return self._computed("config digest", self._record.config, recorded, self._config_digest)
            case ("digests", "training"):
                return self._computed("training digest", "", recorded, self._training_digest)
            case ("digests", "gate"):
                return self._gate_digest(recorded)
        return Verdict(".".join(key), "", "not checked", recorded, detail="this version does not know what it is of")

    def manifest(self) -> Iterator[Verdict]:
        """Verdicts on the hashes of the adapter's manifest, as far as it is this run's."""
        if self._record.training is None or self._record.training.backend != "hf_peft":
            return
        folder = self._adapter("training")
        path = folder / MANIFEST
        try:
            manifest = read_manifest(folder)
        except EvaluationError as error:
            yield Verdict("manifest", spell_path(path), "changed", "", detail=str(error))
            return
        if manifest is None:
            yield Verdict("manifest", spell_path(path), "missing", "")
            return
        if manifest.get("run_id") != self._record.run_id:
            detail = f"it is of run {manifest.get('run_id')}, whose adapter took this one's place"
            yield Verdict("manifest", spell_path(path), "not checked", "", detail=detail)
            return
        for key, recorded in hashes(manifest):
            yield self._of_manifest(key, recorded, folder)

    def _of_manifest(self, key: Key, recorded: str, folder: Path) -> Verdict:
        what, path = f"manifest: {'.'.join(key)}", spell_path(folder / MANIFEST)
        match key:
            case (name,) if name in _MANIFEST_FILES:
                return _of_file(what, folder / _MANIFEST_FILES[name], recorded)
            case ("base_model", "identity"):
                return self._computed(what, path, recorded, self._identity_digest)
            case ("config_fingerprint",):
                return self._computed(what, path, recorded, lambda: self._record.digests.config or "")
            case ("training_fingerprint",):
                return self._computed(what, path, recorded, lambda: self._record.digests.training or "")
            case (*_, "dataset_sha256"):
                return self._computed(what, path, recorded, self._dataset)
        return Verdict(what, path, "not checked", recorded, detail="this version does not know what it is of")

    def _computed(self, what: str, path: str | Path, recorded: str, compute: Callable[[], str]) -> Verdict:
        """The verdict on a hash that is of more than one file."""
        shown = spell_path(path) if isinstance(path, Path) else path
        try:
            now = compute()
        except NotCheckedError as why:
            return Verdict(what, shown, "not checked", recorded, detail=str(why))
        except FileNotFoundError as error:
            return Verdict(what, shown or str(error.filename), "missing", recorded, detail=f"no {error.filename}")
        except (ThinkerError, OSError) as error:
            return Verdict(what, shown, "missing", recorded, detail=" ".join(str(error).split()))
        return Verdict(what, shown, "ok" if now == recorded else "changed", recorded)

    @cached_property
    def _experiment(self) -> Experiment:
        return self._run.load_experiment("validate")

    def _dataset_paths(self) -> list[Path]:
        dataset = self._record.validation.dataset if self._record.validation else None
        files = dataset.files if dataset else [file for file in self._record.inputs if file.role == "dataset"]
        return [self._run.place(file.path) for file in files]

    def _dataset(self) -> str:
        return combined_sha256([sha256_file(path) for path in self._dataset_paths()])

    def _encoding(self) -> str:
        return encoding_sha256(self._experiment, self._dataset())

    def _receipt(self, recorded: str) -> Verdict:
        assert self._record.validation is not None, "its digest stands there"
        assert self._record.validation.receipt is not None, "its digest stands there"
        path = self._run.place(self._record.validation.receipt.path)
        verdict = Verdict("receipt, sealed", spell_path(path), "ok", recorded)
        try:
            sealed = read_receipt(path).digest
        except FileNotFoundError:
            return replace(verdict, status="missing", detail="only the newest receipts are kept")
        except (ReceiptError, OSError) as error:
            return replace(verdict, status="changed", detail=str(error))
        return verdict if sealed == recorded else replace(verdict, status="changed", detail="of another gate digest")

    def _gate_digest(self, recorded: str) -> Verdict:
        verdict = Verdict("gate digest", "", "ok", recorded)
        receipt = self._record.validation.receipt if self._record.validation else None
        try:
            if receipt is None:
                raise NotCheckedError("the run left no receipt, which would say what its test suite read")
            now, changes = gate_digest(self._experiment, self._run.place(receipt.path))
        except NotCheckedError as why:
            return replace(verdict, status="not checked", detail=str(why))
        except (ThinkerError, OSError) as error:
            return replace(verdict, status="missing", detail=" ".join(str(error).split()))
        return verdict if now == recorded else replace(verdict, status="changed", detail=changes)

    def _adapter(self, section: str) -> Path:
        if section == "training":
            assert self._record.training is not None, "its hash stands there"
            return self._run.place(self._record.training.checkpoint_dir)
        assert self._record.evaluation is not None, "its hash stands there"
        assert self._record.evaluation.adapter is not None, "its hash stands there"
        return self._run.place(self._record.evaluation.adapter.path)

    @cached_property
    def _base_model_path(self) -> str:
        """The recorded model; where nothing is there any more, or on record, the one that the files name now."""
        recorded = self._run.base_model()
        if recorded and (not is_local(recorded) or Path(recorded).exists()):
            return recorded
        with contextlib.suppress(ThinkerError):
            return self._experiment.base_model or recorded or ""
        return recorded or ""

    def _base_model(self, name: str, recorded: str) -> Verdict:
        model = Path(self._base_model_path)
        return _of_file("base model", model / name if model.is_dir() or name != "sha256" else model, recorded)

    def _identity_digest(self) -> str:
        revision = self._experiment.recipe.model.revision if self._experiment.recipe else None
        return digest(model_identity(self._base_model_path, revision))

    def _plugin_source(self, role: str) -> str:
        config = self._experiment.pipeline
        if role == "task":
            return plugins.source_sha256(plugins.resolve("tasks", config.task)()) or ""
        if role == "backend" and config.training:
            return plugins.source_sha256(plugins.resolve("backends", config.training.backend)) or ""
        raise NotCheckedError("this version knows no plugin of that kind")

    def _config_digest(self) -> str:
        return config_fingerprint(self._experiment)

    def _training_digest(self) -> str:
        if self._record.training_inputs is None:
            raise NotCheckedError("the record does not hold what it was taken of")
        return training_fingerprint(self._record.training_inputs)


def _of_file(what: str, path: Path, recorded: str) -> Verdict:
    verdict = Verdict(what, spell_path(path), "ok", recorded)
    try:
        now = sha256_file(path)
    except (FileNotFoundError, NotADirectoryError):
        return replace(verdict, status="missing")
    except OSError as error:
        return replace(verdict, status="missing", detail=f"cannot be read: {error.strerror}")
    return verdict if now == recorded else replace(verdict, status="changed")


def _merged(verdicts: list[Verdict]) -> list[Verdict]:
    """What several keys of the record say alike, as one verdict with all of the keys."""
    found: dict[tuple[str, str, str], Verdict] = {}
    for each in verdicts:
        known = (each.what, each.path, each.recorded)
        found[known] = replace(found[known], keys=(*found[known].keys, *each.keys)) if known in found else each
    return list(found.values())
