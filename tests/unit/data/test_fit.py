"""What becomes of rows that are too long, and the hash of those that are trained on."""

import pytest

from thinker.data.encode import EncodedExample
from thinker.data.fit import EncodingHash, fit

ROW = EncodedExample([1, 10, 11, 12, 20, 2], [1.0, 1.0])


@pytest.mark.parametrize(
    ("limit", "policy", "outcome", "length"),
    [
        (6, "error", "kept", 6),
        (5, "error", "overlong", 6),
        (5, "drop", "dropped", 6),
        (5, "truncate_prompt", "truncated", 5),
        (3, "truncate_prompt", "truncated", 3),
        (2, "truncate_prompt", "overlong", 6),
    ],
)
def test_the_policy_decides_but_never_cuts_the_completion(limit, policy, outcome, length) -> None:
    fitted = fit(ROW, limit, policy, 1)
    assert (fitted.outcome, len(fitted.example.ids), fitted.whole_length) == (outcome, length, 6)
    assert fitted.example.weights == ROW.weights
    assert fitted.is_trained_on == (outcome in ("kept", "truncated"))


def hash_of(*rows: EncodedExample) -> str:
    total = EncodingHash()
    for row in rows:
        total.add(row)
    return total.hexdigest()


@pytest.mark.parametrize(
    "other",
    [
        (EncodedExample([1, 10, 11, 12, 20, 3], [1.0, 1.0]),),
        (EncodedExample([1, 10, 11, 12, 20, 2], [5.0, 1.0]),),
        (EncodedExample([1, 10, 11, 12, 20, 2], [1.0, 1.0, 1.0]),),
        (EncodedExample([1, 10, 11], [1.0]), EncodedExample([12, 20, 2], [1.0])),
        (),
    ],
    ids=["an id", "a weight", "where the completion begins", "where a row ends", "no row"],
)
def test_the_hash_tells_rows_apart(other) -> None:
    assert hash_of(*other) != hash_of(ROW)
    assert hash_of(ROW) == hash_of(EncodedExample(list(ROW.ids), list(ROW.weights)))


def test_the_order_of_rows_counts() -> None:
    second = EncodedExample([7, 8], [1.0])
    assert hash_of(ROW, second) != hash_of(second, ROW)
