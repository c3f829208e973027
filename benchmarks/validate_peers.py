"""One validator in a process of its own, for bench_validate.py: checks a file and prints what it took as JSON.

Run: python benchmarks/validate_peers.py NAME FILE

Each peer is asked for the schema of `scifact_claims`: `prompt` and `completion`, strings that are not blank;
`metadata`, an object if it is there, in which `claim_id` is an integer or a string, `doc_ids` an array of such, and
`source` and `license` are strings that are not blank. What a peer cannot express, or not without much work, it is
spared; the docstrings say so. The files are without fault: a peer that finds one, or misses a row, fails.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

NOT_BLANK = r"\S"
ID = {"type": ["integer", "string"]}
TEXT = {"type": "string", "pattern": NOT_BLANK}
JSON_SCHEMA = {
    "type": "object",
    "required": ["prompt", "completion"],
    "properties": {
        "prompt": TEXT,
        "completion": TEXT,
        "metadata": {
            "type": "object",
            "properties": {"claim_id": ID, "doc_ids": {"type": "array", "items": ID}, "source": TEXT, "license": TEXT},
        },
    },
}
READ_BYTES = 1 << 18

Check = Callable[[Path], int]


def thinker_pass(workers: int | None) -> Check:
    """All of it, with line numbers, messages and SHA-256; also refuses duplicate keys and numbers that overflow."""
    from thinker.tasks.scifact_claims import ScifactClaims
    from thinker.validation import DatasetValidator

    def check(path: Path) -> int:
        result = DatasetValidator(path, ScifactClaims.default_schema, workers=workers).validate()
        assert result.ok
        assert not result.warning_count
        return result.rows

    return check


def sha256() -> Check:
    """Reads and hashes, and looks at nothing."""

    def check(path: Path) -> int:
        digest = hashlib.sha256()
        with path.open("rb", buffering=0) as file:
            while block := file.read(READ_BYTES):
                digest.update(block)
        return -1

    return check


def orjson_and_jsonschema_rs() -> Check:
    """All of the schema; integers beyond 64 bits become floats, the last of duplicate keys wins unseen."""
    import jsonschema_rs
    import orjson

    validator = jsonschema_rs.validator_for(JSON_SCHEMA)
    return by_line(lambda line: validator.is_valid(orjson.loads(line)))


def jsonschema_python() -> Check:
    """All of the schema."""
    import jsonschema

    validator = jsonschema.Draft202012Validator(JSON_SCHEMA)
    return by_line(lambda line: validator.is_valid(json.loads(line)))


def pydantic_validate_json() -> Check:
    """All of the schema, and the rows as Python objects."""
    from typing import Annotated, NotRequired

    import pydantic
    from typing_extensions import TypedDict

    text = Annotated[str, pydantic.StringConstraints(pattern=NOT_BLANK)]
    metadata = TypedDict(  # noqa: UP013 - a class's annotations would be text here, and out of sight
        "Metadata",
        {
            "claim_id": NotRequired[int | str],
            "doc_ids": NotRequired[list[int | str]],
            "source": NotRequired[text],
            "license": NotRequired[text],
        },
    )
    row = TypedDict("Row", {"prompt": text, "completion": text, "metadata": NotRequired[metadata]})  # noqa: UP013
    validate = pydantic.TypeAdapter(row).validate_json

    def is_valid(line: bytes) -> bool:
        validate(line, strict=True)
        return True

    return by_line(is_valid)


def pandera_frames() -> Check:
    """Frames of 20,000 rows, `metadata` flattened into columns; the items of `doc_ids` are not looked at."""
    import pandera.pandas as pa

    text = pa.Check.str_matches(NOT_BLANK)
    schema = pa.DataFrameSchema(
        {
            "prompt": pa.Column(str, text),
            "completion": pa.Column(str, text),
            "claim_id": pa.Column(int),
            "doc_ids": pa.Column(
                object, pa.Check(lambda value: isinstance(value, list), element_wise=True), required=False
            ),
            "source": pa.Column(str, text, required=False),
            "license": pa.Column(str, text, required=False),
        }
    )

    def check(path: Path) -> int:
        return sum(len(schema.validate(frame, lazy=True)) for frame in frames(path, 20_000))

    return check


def great_expectations() -> Check:
    """One frame, `metadata` flattened into columns; the items of `doc_ids` are not looked at."""
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    import great_expectations as gx

    expect = gx.expectations
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    batches = (
        context.data_sources.add_pandas("rows").add_dataframe_asset("rows").add_batch_definition_whole_dataframe("all")
    )

    def check(path: Path) -> int:
        (frame,) = frames(path, None)
        suite = gx.ExpectationSuite("rows")
        for name in ("prompt", "completion", "source", "license"):
            if name in frame:
                suite.add_expectation(expect.ExpectColumnValuesToNotBeNull(column=name))
                suite.add_expectation(expect.ExpectColumnValuesToMatchRegex(column=name, regex=NOT_BLANK))
        suite.add_expectation(
            expect.ExpectColumnValuesToBeInTypeList(column="claim_id", type_list=["int", "int64", "str"])
        )
        if "doc_ids" in frame:
            suite.add_expectation(expect.ExpectColumnValuesToBeInTypeList(column="doc_ids", type_list=["list"]))
        assert batches.get_batch({"dataframe": frame}).validate(suite).success
        return len(frame)

    return check


def datasets_load() -> Check:
    """Loads with declared types into Arrow, in a new cache; blank strings pass, and ids must be integers."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    import datasets

    datasets.disable_progress_bars()
    string = datasets.Value("string")

    def check(path: Path) -> int:
        with path.open("rb") as file:
            metadata = json.loads(file.readline())["metadata"]
        types = {
            "claim_id": datasets.Value("int64"),
            "doc_ids": datasets.List(datasets.Value("int64")),
            "source": string,
            "license": string,
        }
        inner = {name: types[name] for name in metadata}
        features = datasets.Features({"prompt": string, "completion": string, "metadata": inner})
        with tempfile.TemporaryDirectory() as cache:
            loaded = datasets.load_dataset(
                "json", data_files=str(path), split="train", cache_dir=cache, features=features
            )
            return len(loaded)

    return check


def duckdb_read_json() -> Check:
    """Casts to declared types on all cores; ids must be integers, and anything that is not a string is made one."""
    import duckdb

    columns = (
        "{prompt: 'VARCHAR', completion: 'VARCHAR', "
        "metadata: 'STRUCT(claim_id BIGINT, doc_ids BIGINT[], source VARCHAR, license VARCHAR)'}"
    )
    texts = " AND ".join(f"regexp_matches({name}, '{NOT_BLANK}')" for name in ("prompt", "completion")) + "".join(
        f" AND (metadata.{name} IS NULL OR regexp_matches(metadata.{name}, '{NOT_BLANK}'))"
        for name in ("source", "license")
    )

    def check(path: Path) -> int:
        query = (
            f"SELECT count(*), count(*) FILTER ({texts}), count(metadata.claim_id), count(metadata.doc_ids) "
            f"FROM read_json(?, format = 'newline_delimited', columns = {columns})"
        )
        found = duckdb.execute(query, [str(path)]).fetchone()
        assert found is not None
        assert found[0] == found[1]
        return found[0]

    return check


def by_line(is_valid: Callable[[bytes], bool]) -> Check:
    """A check of a file by one of its lines."""

    def check(path: Path) -> int:
        rows = 0
        with path.open("rb", buffering=READ_BYTES) as file:
            for rows, line in enumerate(file, 1):
                if not is_valid(line):
                    raise AssertionError(f"line {rows} is refused")
        return rows

    return check


def frames(path: Path, rows: int | None) -> Iterator[Any]:
    """The file as frames of so many rows, or one of all, `metadata` flattened into columns."""
    import pandas as pd

    with path.open("rb", buffering=READ_BYTES) as file:
        parsed = map(json.loads, file)
        while batch := list(itertools.islice(parsed, rows)):
            yield pd.DataFrame([{**row, **row.pop("metadata")} for row in batch])


PEERS: dict[str, Callable[[], Check]] = {
    "thinker": lambda: thinker_pass(None),
    "thinker-one-process": lambda: thinker_pass(0),
    "sha256": sha256,
    "orjson+jsonschema-rs": orjson_and_jsonschema_rs,
    "pydantic": pydantic_validate_json,
    "jsonschema": jsonschema_python,
    "pandera": pandera_frames,
    "great-expectations": great_expectations,
    "datasets": datasets_load,
    "duckdb": duckdb_read_json,
}


def peak_bytes() -> int:
    """The most memory that this process held."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage counts what the process that forked this one held
        return int(status.read_text().partition("VmHWM:")[2].split()[0]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    """Print the rows, when the peer was ready (Unix time), how long it checked, and this process's peak memory."""
    name, path = sys.argv[1], Path(sys.argv[2])
    answers, sys.stdout = sys.stdout, io.TextIOWrapper(os.fdopen(os.dup(2), "wb"))
    check = PEERS[name]()
    ready = time.time()
    started = time.perf_counter()
    rows = check(path)
    seconds = time.perf_counter() - started
    print(json.dumps({"rows": rows, "ready": ready, "seconds": seconds, "peak_bytes": peak_bytes()}), file=answers)


if __name__ == "__main__":
    main()
