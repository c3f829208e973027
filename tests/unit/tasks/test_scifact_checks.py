"""Each check of SciFact rows, by one planted defect: one problem, with its code, line and field; none in clean rows."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.second_pass import Passed, Row, second_pass

from thinker.claim_schema import Claim, ClaimSet, Relation, parse, render
from thinker.config.pipeline_models import EvaluationConfig
from thinker.data.scifact import Corpus, Document, EvidenceGroup, ScifactClaim
from thinker.tasks.base import ChecksRows, Example, LabelsExamples
from thinker.tasks.scifact_checks import ScifactRows, completion_problems
from thinker.tasks.scifact_claims import ScifactClaims, build_completion
from thinker.tasks.scifact_prompt import build_prompt, read_prompt

CORPUS = Corpus(
    {
        7: Document(7, "Ice", ("Ice is cold.", "", "Ice floats.")),
        8: Document(8, "Fire", ("Fire is hot.", "Document 5: is not one.")),
    }
)
CLAIMS = [
    ScifactClaim(1, "Fire is warm.", {8: EvidenceGroup("SUPPORT", ((0, 1),))}, (8,)),
    ScifactClaim(2, "Ice is dry.", {}, (7,)),
    ScifactClaim(
        3,
        "Ice is light.",
        {7: EvidenceGroup("SUPPORT", ((2,), (0, 2))), 8: EvidenceGroup("CONTRADICT", ((0,),))},
        (8, 7),
    ),
    ScifactClaim(4, "Water is wet.", {}, ()),
]
ROWS: list[Row] = [
    {"prompt": build_prompt(claim, CORPUS), "completion": render(build_completion(claim, CORPUS))} for claim in CLAIMS
]
LINE = 3
C1, C2, C2_REFUTES, C3, C3_SUPPORTS, C4, C4_SUPPORTS = str(ROWS[LINE - 1]["completion"]).split("\n")
EVALUATION = EvaluationConfig(claims_file=Path("claims.jsonl"), corpus_file=Path("corpus.jsonl"))


def check(folder: Path, rows: list[Row], evaluation: EvaluationConfig | None = EVALUATION) -> Passed:
    task = ScifactClaims()
    return second_pass(folder, task, task.checks(evaluation), rows)


def planted(**values: str) -> list[Row]:
    return [row | values if number == LINE else row for number, row in enumerate(ROWS, start=1)]


def test_the_task_brings_checks_and_labels() -> None:
    assert isinstance(ScifactClaims(), ChecksRows)
    assert isinstance(ScifactClaims(), LabelsExamples)
    assert [ScifactClaims().label(Example("", str(row["completion"]))) for row in ROWS] == [
        "supports",
        "none",
        "supports",
        "none",
    ]


def test_clean_rows_have_no_problem(tmp_path: Path) -> None:
    found = check(tmp_path, ROWS)
    assert found.problems == []
    assert found.statistics == {"prompts_of_another_form": 0}


@pytest.mark.parametrize(
    ("lines", "code", "message"),
    [
        ([C1.lower(), C2], "070", "line 1: case"),
        ([C1, C2.replace("]", "] "), C2_REFUTES], "070", "line 2: spacing"),
        ([C1, C2.replace("(Document 8)", "(8)")], "070", "line 2: form of the document reference"),
        ([C1, C2.replace("(Document 8)", "(see there)")], "070", "line 2: unreadable document reference"),
        ([C1, f"**{C2}", C2_REFUTES], "070", "line 2: emphasis"),
        ([C1, "", C2, C2_REFUTES], "070", "line 2: blank line"),
        ([C1, C2, C2], "070", "line 3: line said before"),
        ([C2, C2_REFUTES, C1], "070", "line 1: first line is not CLAIM[c1]"),
        ([C1, C2, C3.replace("c3", "c2")], "070", "line 3: second claim c2"),
        ([C1.replace("]", "] (Document 8)")], "070", "line 1: document reference on c1"),
        ([f"{C1}\r", f"{C2}\r", C2_REFUTES], "070", "line 1: carriage return; line 2: carriage return"),
        ([C1, C2, "RELATION: c2 contrasts c1"], "070", "line 3: relation 'contrasts'"),
        ([C1, C2, "RELATOIN c2 refutes c1"], "071", "line 3: neither a CLAIM nor a RELATION"),
        ([C1, "CLIAM[c2] (Document 8): Fire is hot.", C2_REFUTES], "071", "line 2: neither"),
        ([C1.replace("CLAIM", "CLIAM"), C2, C2_REFUTES], "071", "line 1: neither"),
        ([C1, C2, C2_REFUTES, "In conclusion,", "fire is hot."], "071", "lines 4, 5: neither"),
        ([C2, C2_REFUTES, C3, C3_SUPPORTS], "072", "no line CLAIM[c1] states the hypothesis"),
        (["CLAIM[c1]: Ice is heavy.", C2], "073", "c1 is not the prompt's hypothesis, 'Ice is light.'"),
        ([C1.removesuffix("."), C2], "073", "c1 is not the prompt's hypothesis"),
        ([C1, C2.replace("hot", "cold"), C2_REFUTES], "074", "c2 is not, word for word, a sentence of document 8"),
        ([C1, C2.replace("8", "7")], "074", "a sentence of document 7; it is one of document 8"),
        ([C1, "CLAIM[c2] (Document 8): Fire"], "074", "c2 is not, word for word, a sentence of document 8"),
        ([C1, C2.replace("8", "9"), C2_REFUTES], "075", "c2 cites document 9, which the prompt lacks"),
        ([C1, "CLAIM[c2]: Fire is hot.", C2_REFUTES], "075", "c2 cites no document"),
        ([C1, C2, C2_REFUTES, C4_SUPPORTS, "RELATION: c2 refutes c4"], "076", "names c4, which no line states"),
        ([C1, C2, C2_REFUTES, "RELATION: c2 supports c1"], "077", "c2 both supports and refutes c1"),
        ([C1, C2, C3, "RELATION: c3 supports c2", "RELATION: c2 refutes c3"], "078", "began: c2 -> c3 -> c2"),
        (
            [C1, C2, C3, C4, "RELATION: c4 supports c2", "RELATION: c2 supports c3", "RELATION: c3 refutes c4"],
            "078",
            "relations lead back to where they began: c2 -> c3 -> c4 -> c2",
        ),
    ],
)  # fmt: skip
def test_a_defect_of_the_completion_is_one_problem(tmp_path: Path, lines: list[str], code: str, message: str) -> None:
    found = check(tmp_path, planted(completion="\n".join(lines)))
    assert found.places == [(f"THK-DATA-{code}", LINE, "completion")], [str(each) for each in found.problems]
    assert message in found.problems[0].message


def test_relations_that_lead_apart_and_together_again_are_no_cycle(tmp_path: Path) -> None:
    relations = ["RELATION: c3 supports c2", "RELATION: c4 refutes c2", "RELATION: c4 supports c3", C2_REFUTES]
    assert check(tmp_path, planted(completion="\n".join([C1, C2, C3, C4, *relations]))).problems == []


def test_a_prompt_of_another_form_is_one_problem_and_nothing_is_compared_with_it(tmp_path: Path) -> None:
    prompt = str(ROWS[LINE - 1]["prompt"]).replace("Document 8", "Doc. 8")
    found = check(tmp_path, planted(prompt=prompt, completion=f"CLAIM[c1]: x\n{C2.replace('hot', 'cold')}"))
    assert found.places == [("THK-DATA-079", LINE, "prompt")]
    assert found.problems[0].message.startswith("not as evaluation builds it: line 6 is 'Doc. 8: Fire' where")
    assert found.statistics == {"prompts_of_another_form": 1}


@pytest.mark.parametrize("evaluation", [None, EvaluationConfig(), EvaluationConfig(data_file=Path("data.jsonl"))])
def test_where_no_evaluation_builds_prompts_they_may_have_any_form(
    tmp_path: Path, evaluation: EvaluationConfig | None
) -> None:
    found = check(tmp_path, planted(prompt="Fire is hot. Ice is light?"), evaluation)
    assert found.problems == []
    assert found.statistics == {"prompts_of_another_form": 1}


def test_a_completion_that_needs_no_prompt_to_be_judged_is_judged_without(tmp_path: Path) -> None:
    completion = f"{C1}\nCLAIM[c2]: Fire is hot."
    found = check(tmp_path, planted(prompt="?", completion=completion), None)
    assert found.places == [("THK-DATA-075", LINE, "completion")]


IDS = st.sampled_from(["c1", "c2", "c3"])
LINES = st.one_of(
    st.builds(
        Claim, IDS, st.sampled_from(["Ice is light.", "Fire is hot.", "Ice floats."]), st.sampled_from([None, 7, 8])
    ),
    st.tuples(IDS, st.sampled_from(["supports", "refutes"]), IDS)
    .filter(lambda each: each[0] != each[2])
    .map(lambda each: Relation(*each)),
)


@given(st.lists(LINES, max_size=6, unique=True), st.sampled_from(["", "x y z\n", "```\n"]))
def test_what_is_not_well_formed_never_passes(lines: list[Claim | Relation], before: str) -> None:
    completion = before + render(ClaimSet(tuple(lines)))
    if not parse(completion).well_formed:
        for prompt in (None, read_prompt(str(ROWS[LINE - 1]["prompt"]))):
            assert list(completion_problems(completion, prompt))


@given(st.text())
def test_no_completion_is_too_strange_to_be_judged(completion: str) -> None:
    found = completion_problems(completion, read_prompt(str(ROWS[0]["prompt"])))
    assert {rule for rule, _, _ in found} <= set(ScifactRows.rules)
