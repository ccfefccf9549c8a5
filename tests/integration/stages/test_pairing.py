"""Which completions are compared, in which order: decided by the unit and the run's seed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from app.db.models import CompletionSource
from app.repositories.completions import CompletionRow
from workers.stages.pairing import Pairing

TEXTS = st.lists(st.sampled_from("abcdefgh"), min_size=0, max_size=8)


def rows(texts: list[str]) -> list[CompletionRow]:
    return [
        CompletionRow(f"id{place}", "prompt", CompletionSource.BASE, place, text, None, None, None)
        for place, text in enumerate(texts)
    ]


@given(TEXTS, st.integers(0, 2**63 - 1))
def test_all_compares_every_two_distinct_texts_once(texts: list[str], seed: int) -> None:
    pairs = Pairing(seed, (0, "p")).pairs(rows(texts), "all")
    distinct = len(set(texts))
    compared = [frozenset((pair.first.text, pair.second.text)) for pair in pairs if not pair.identical]
    assert len(compared) == len(set(compared)) == distinct * (distinct - 1) // 2
    assert sum(pair.identical for pair in pairs) == len(texts) - distinct


@given(TEXTS, st.integers(0, 2**63 - 1))
def test_chain_lets_every_distinct_text_meet_its_neighbours(texts: list[str], seed: int) -> None:
    pairs = [pair for pair in Pairing(seed, (0, "p")).pairs(rows(texts), "chain") if not pair.identical]
    distinct = len(set(texts))
    assert len(pairs) == {0: 0, 1: 0, 2: 1}.get(distinct, distinct)
    assert len({frozenset((pair.first.id, pair.second.id)) for pair in pairs}) == len(pairs)


@given(st.integers(0, 2**63 - 1))
def test_the_order_of_a_pair_does_not_depend_on_how_it_is_named(seed: int) -> None:
    one, other = rows(["a", "b"])
    pairing = Pairing(seed, (0, "p"))
    assert pairing.oriented(one, other) == pairing.oriented(other, one)


def test_neither_place_is_preferred() -> None:
    one, other = rows(["a", "b"])
    first = sum(Pairing(7, (0, f"p{number}")).oriented(one, other).first is one for number in range(2000))
    assert 900 < first < 1100


def test_principles_are_spread_over_comparisons() -> None:
    pairing = Pairing(7, (0, "p"))
    pairs = pairing.pairs(rows(list("abcdefgh")), "all")
    drawn = {pairing.principle(("x", "y", "z"), pair) for pair in pairs}
    assert drawn == {"x", "y", "z"}
    assert pairing.principle((), pairs[0]) is None
