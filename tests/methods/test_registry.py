import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from methods.api import Context, Parts, Weights
from methods.registry import METHODS, read_spec
from methods.spec import SpecError
from partition.runs import make_runs


@pytest.mark.parametrize(
    ("text", "canonical", "parts"),
    [
        ("e2e", "e2e", Parts()),
        ("checkpoint", "checkpoint", Parts(segments=5)),
        (
            "checkpoint[3.k2.4]",
            "checkpoint[segments=3.k2.4]",
            Parts(segments=make_runs((3, 2, 4), (False, True, False))),
        ),
        ("e2e+checkpoint[balanced]", "e2e+checkpoint[segments=balanced]", Parts(segments="balanced")),
        ("greedy", "greedy", Parts(local_loss="softmax", head="0c1f")),
        ("dgl", "dgl", Parts(local_loss="softmax")),
        ("infopro", "infopro[softmax]", Parts(local_loss="softmax", decoder=True)),
        ("contsup[R0]", "contsup[R0]", Parts(local_loss="softmax", context=Context())),
        ("contsup[E]", "contsup[E]", Parts(local_loss="softmax", context=Context(image=True))),
        ("contsup[R1]", "contsup[R1]", Parts(local_loss="softmax", context=Context(features=1))),
        ("contsup", "contsup[R1E]", Parts(local_loss="softmax", context=Context(image=True, features=1))),
        (
            " infopro[ contrast , head = 1c3f ] + checkpoint[3] ",
            "infopro[contrast,head=1c3f]+checkpoint[segments=3]",
            Parts(local_loss="contrast", head="1c3f", decoder=True, segments=3),
        ),
        (
            "contsup[E,contrast]+decoder[weights=5/0.5/0/2]",
            "contsup[E,loss=contrast]+decoder[weights=5/0.5/0/2]",
            Parts(
                local_loss="contrast",
                context=Context(image=True),
                decoder=True,
                weights=Weights(first=(5, 0.5), last=(0, 2)),
            ),
        ),
        ("dgl[step=per_module]", "dgl[step=per_module]", Parts(local_loss="softmax", step="per_module")),
        ("infopro[softmax,zero_weight=run]", None, Parts(local_loss="softmax", decoder=True, run_zero_weight=True)),
    ],
)
def test_a_spec_gives_the_parts_of_its_method_and_a_canonical_form(text, canonical, parts):
    spec = read_spec(text)
    assert spec.parts == parts
    assert spec.text == (canonical or text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("infpro", "unknown method 'infpro': did you mean 'infopro'?"),
        ("xyz", "unknown method 'xyz': there are e2e, checkpoint"),
        ("xyz", "a method of your own needs --plugin FILE"),
        ("infopro[contast]", "infopro: loss is softmax|contrast, not 'contast'; did you mean 'contrast'?"),
        ("contsup[M9]", "contsup: context is R0|E|R<n>|R<n>E|M1R1E|M2R1E, not 'M9'"),
        ("dgl[width=2]", "method 'dgl' has no option 'width'; it has head, widen, step"),
        ("e2e[fast]", "method 'e2e' has no options (got 'fast')"),
        ("infopro[softmax,contrast]", "option 'loss' of method 'infopro' is given twice ('softmax', 'contrast')"),
        ("checkpoint[0]", "checkpoint: segments is balanced|a whole number from 1|sizes such as 9.9.k9, not '0'"),
        ("decoder", "'decoder' is a part that is added to a method, as in 'contsup[E]+decoder'"),
        ("e2e+decoder", "'decoder' needs a method with local modules before it"),
        ("dgl+infopro", "'infopro' cannot be added to another method in 'dgl+infopro'; parts to add: checkpoint"),
        ("checkpoint+checkpoint", "names the same part twice"),
        ("greedy_plus+decoder", "has the FLOPs of InfoPro by its added blocks alone; add parts to 'greedy'"),
        ("asy_infopro+backlink", "no loss can reach a module before, which is finished"),
        ("boostresnet+mlm", "no loss can reach a module before, which is finished"),
        ("asy_infopro+lam", "the later units that are copied are not trained yet"),
        ("dib+decoder", "boosting weighs modules by what their classifiers say"),
        ("asy_infopro[cache=disk]", "asy_infopro: cache is recompute|store, not 'disk'"),
        ("infopro+decoder", "'decoder' is already part of the method before it in 'infopro+decoder'"),
        ("e2e[", "cannot read 'e2e[' in method 'e2e['"),
        ("dgl[=2]", "cannot read option '=2'"),
        ("", "cannot read ''"),
    ],
)
def test_a_wrong_spec_says_what_is_allowed(text, message):
    with pytest.raises(SpecError, match=re.escape(message)):
        read_spec(text)


@given(st.text(alphabet="edglinfoprcstu[]+,=/ 0123456789.", max_size=30))
def test_any_text_gives_a_spec_or_a_named_error(text):
    try:
        spec = read_spec(text)
    except SpecError:
        return
    assert read_spec(spec.text) == spec


@pytest.mark.parametrize("name", METHODS)
def test_every_method_says_where_it_comes_from(name):
    method = METHODS[name]
    assert method.name == name
    assert method.summary
    assert method.source
    assert method.begins is not None or method.follows
    for option in (*method.options, *method.begin_options):
        assert option.help
        assert option.sets.partition(".")[0] in Parts.__dataclass_fields__
        assert option.default in option.choices or re.fullmatch(option.pattern, option.default)


def test_weights_run_linearly_from_the_first_to_the_last_local_module():
    weights = Weights(first=(6, 0), last=(1, 2))
    assert [weights.at(k, 4) for k in range(3)] == [(6, 0), (3.5, 1), (1, 2)]


def test_two_modules_use_the_first_pair_of_weights():
    assert Weights(first=(5, 0.5), last=(0, 9)).at(0, 2) == (5, 0.5)
