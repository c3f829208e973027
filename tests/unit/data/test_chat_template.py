"""Chat templates are rendered as Transformers renders them."""

import jinja2
import pytest

from thinker.data.chat_template import render

MESSAGES = [{"role": "system", "content": "Be <b>brief</b> & 'kind'."}, {"role": "user", "content": "größer?\n"}]
TEMPLATES = {
    "whitespace": "{% for m in messages %}\n  {% if loop.first %}\n  {{ m.role }}: {{ m.content }}\n  {% endif %}\n"
    "{% endfor %}\n",
    "json": "{{ messages | tojson }}{{ messages | tojson(indent=2) }}{{ {'b': 1, 'a': 'ü'} | tojson(sort_keys=True) }}",
    "break": "{% for m in messages %}{% if loop.index == 2 %}{% break %}{% endif %}{{ m['content'] }}{% endfor %}",
    "namespace": "{% set ns = namespace(n=0, self='x') %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}"
    "{{ ns.n }}{{ ns['self'] }}",
    "dict": "{{ dict(a=1) }}{{ dict.fromkeys(['a', 'b'], 2) }}",
    "generation": "{% set x = 1 %}{% generation %}{% set x = 2 %}<{{ messages[1].role }}{{ x }}>{% endgeneration %}\n"
    "{{ x }}",
    "values": "{{ bos_token }}{{ date_string }}{{ tools is none }}{{ documents is none }}{{ add_generation_prompt }}"
    "{{ nothing }}",
}


def rendered_by_transformers(template: str) -> str:
    from transformers.utils.chat_template_utils import render_jinja_template

    texts, _ = render_jinja_template([MESSAGES], chat_template=template, add_generation_prompt=True, bos_token="<s>",
                                     date_string="01 Jan 2025")  # fmt: skip
    return texts[0]


def rendered(template: str) -> str:
    values = {"bos_token": "<s>", "date_string": "01 Jan 2025"}
    return render(template, MESSAGES, add_generation_prompt=True, values=values)


@pytest.mark.parametrize("name", TEMPLATES)
def test_the_text_is_that_of_transformers(name: str) -> None:
    assert rendered(TEMPLATES[name]) == rendered_by_transformers(TEMPLATES[name]) != ""


def test_a_template_may_ask_for_the_day() -> None:
    assert rendered("{{ strftime_now('%Y') }}").isdigit()


@pytest.mark.parametrize(
    "template",
    [
        "{{ raise_exception('no system role') }}",
        "{{ namespace(_hidden=1) }}",
        "{{ ''.__class__.__mro__ }}",
        "{{ messages.append(1) }}",
        "{% if %}",
    ],
)
def test_what_transformers_refuses_is_refused_alike(template: str) -> None:
    errors = []
    for render_it in (rendered, rendered_by_transformers):
        with pytest.raises(jinja2.TemplateError) as caught:
            render_it(template)
        errors.append(type(caught.value))
    assert errors[0] == errors[1]
