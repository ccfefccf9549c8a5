from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from random import Random

import numpy as np
import pytest

from app.rlaif.pair_figures import PairQuality
from app.rlaif.pair_quality import SAMPLED, BelievedPair, assess
from app.rlaif.preferences import DropReason
from app.rlaif.surface import FEWEST, SurfacePair, fit_surface

WORDS = (
    "tide",
    "moon",
    "pull",
    "sea",
    "rise",
    "fall",
    "shore",
    "wave",
    "night",
    "salt",
    "wind",
    "sand",
    "rock",
    "deep",
)


def text(random: Random, words: int = 12) -> str:
    return " ".join(random.choice(WORDS) for _ in range(words)).capitalize() + "."


def pair(number: int, random: Random, **changes: object) -> BelievedPair:
    """A pair of no defect: equally long texts, preferred by a coin."""
    base = BelievedPair(
        prompt_id=f"p{number}",
        prompt=f"Question {number}?",
        cohort="helpfulness",
        first=text(random),
        second=text(random),
        probability=0.9 if random.random() < 0.5 else 0.1,
        consistent=True,
        drop_reason=None,
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def pairs(count: int = 400, seed: int = 1) -> list[BelievedPair]:
    random = Random(seed)
    return [pair(number, random) for number in range(count)]


def codes(figures: PairQuality) -> list[str]:
    return [warning.code for warning in figures.warnings]


class TestAssess:
    def test_sound_pairs_give_no_warning(self) -> None:
        figures = assess(pairs(), seed=0)
        assert (figures.pairs, figures.kept, figures.dropped) == (400, 400, {})
        assert figures.warnings == []
        assert (figures.inconsistent, figures.ties) == (0.0, 0.0)
        assert figures.margins == [0, 0, 0, 0, 0, 0, 0, 0, 400, 0]
        assert figures.duplicates.model_dump() == {"pairs": 0, "prompts": 0, "completions": 0}
        assert figures.surface is not None
        assert figures.surface.separable < 0.05
        assert figures.surface.accuracy == pytest.approx(0.5, abs=0.1)

    def test_nothing_at_all_is_no_error(self) -> None:
        figures = assess([], seed=0)
        assert (figures.pairs, figures.length, figures.surface, figures.ties, figures.inconsistent) == (0, *[None] * 4)
        assert codes(figures) == ["few_pairs"]

    def test_duplicates_are_told_apart(self) -> None:
        sound = pairs(200)
        exchanged = replace(sound[0], first=sound[0].second, second=sound[0].first, probability=0.5)
        again = replace(sound[1], prompt_id="again")
        shared = replace(sound[2], prompt_id="other", prompt="Another question?", second="Something else.")
        figures = assess([*sound, exchanged, again, shared], seed=0)
        assert figures.duplicates.model_dump() == {"pairs": 2, "prompts": 1, "completions": 1}

    def test_many_duplicates_warn_with_a_remedy(self) -> None:
        figures = assess([*pairs(200), *pairs(20)], seed=0)
        (warning,) = figures.warnings
        assert warning.code == "duplicate_pairs"
        assert "20 of 220" in warning.detail
        assert "prompt set" in warning.remedy

    def test_identical_pairs_are_named_with_what_would_keep_them(self) -> None:
        cut = [replace(each, drop_reason=DropReason.IDENTICAL_AFTER_TRUNCATION) for each in pairs(30)]
        figures = assess([*pairs(400, seed=2), *cut], seed=0)
        assert figures.dropped == {DropReason.IDENTICAL_AFTER_TRUNCATION: 30}
        assert figures.kept == 400
        assert "prefer.max_length" in next(w.remedy for w in figures.warnings if w.code == "identical_pairs")

    def test_ties_inconsistency_and_margins(self) -> None:
        sound = pairs(200)
        ties = [replace(each, probability=0.52, consistent=False) for each in pairs(200, seed=3)]
        figures = assess([*sound, *ties], seed=0)
        assert (figures.ties, figures.inconsistent) == (0.5, 0.5)
        assert figures.margins[0] == 200
        assert {"many_ties", "inconsistent_pairs"} <= set(codes(figures))
        assert figures.cohorts["helpfulness"].ties == 200

    def test_dropped_pairs_belong_to_no_margin_and_no_side(self) -> None:
        dropped = [replace(each, drop_reason=DropReason.NO_VALID_VERDICT, probability=None) for each in pairs(50)]
        harmless = [replace(each, cohort="harmlessness") for each in dropped]
        figures = assess([*pairs(200, seed=4), *harmless], seed=0)
        balance = figures.cohorts["harmlessness"]
        assert balance.model_dump() == {"pairs": 50, "kept": 0, "first": 0, "second": 0, "ties": 0}
        assert sum(figures.margins) == 200
        assert codes(figures) == ["cohort_without_pairs"]

    def test_one_side_that_always_wins_is_told_by_cohort(self) -> None:
        figures = assess([replace(each, probability=0.9) for each in pairs(200)], seed=0)
        assert figures.cohorts["helpfulness"].first == 200
        assert "one_sided" in codes(figures)


class TestLengthSkew:
    def test_longer_that_always_wins(self) -> None:
        random = Random(1)
        longer = [
            pair(number, random, first=text(random, 30), second=text(random, 10), probability=0.9)
            for number in range(200)
        ]
        figures = assess(longer, seed=0)
        assert figures.length is not None
        assert (figures.length.preferred_longer, figures.length.auc) == (1.0, 1.0)
        assert figures.length.mean_difference > 50
        assert {"length_decides", "trivially_separable"} <= set(codes(figures))

    def test_by_hand(self) -> None:
        """Leads of 3, -1 and 0 characters: of the nine ordered pairs (i, -j), 5 are above, 3 below and 1 equal."""
        random = Random(1)
        leads = [("aaaa", "b", 0.9), ("a", "bb", 0.9), ("a", "b", 0.1)]
        figures = assess(
            [pair(n, random, first=f, second=s, probability=p) for n, (f, s, p) in enumerate(leads)], seed=0
        )
        assert figures.length is not None
        assert figures.length.preferred_longer == 0.5
        assert figures.length.mean_difference == pytest.approx(2 / 3)
        wins = [(a > -b) + (a == -b) / 2 for a in (3, -1, 0) for b in (3, -1, 0)]
        assert figures.length.auc == pytest.approx(sum(wins) / 9)

    def test_exchanging_the_sides_of_every_pair_changes_nothing(self) -> None:
        random = Random(7)
        some = [pair(number, random, first=text(random, random.randrange(5, 40))) for number in range(300)]
        swapped = [replace(p, first=p.second, second=p.first, probability=1 - (p.probability or 0.0)) for p in some]
        one, other = assess(some, seed=0), assess(swapped, seed=0)
        assert one.length == other.length
        assert one.surface == other.surface


class TestSurface:
    def test_refusals_that_always_lose_are_trivially_separable(self) -> None:
        random = Random(2)
        refused = [
            pair(number, random, second=f"I'm sorry, but I can't help. {text(random)}", probability=0.9)
            for number in range(300)
        ]
        figures = assess(refused, seed=0)
        assert figures.surface is not None
        assert figures.surface.separable > 0.9
        warning = next(w for w in figures.warnings if w.code == "trivially_separable")
        assert "less refusal" in warning.detail

    def test_what_is_learned_is_told_on_prompts_that_were_not_seen(self) -> None:
        """Sixteen coins of features fit 60 pairs well; out of fold they must decide nothing with confidence."""
        random = Random(3)
        noise = [SurfacePair(f"p{n}", text(random), text(random), float(random.random() < 0.5)) for n in range(60)]
        fit = fit_surface(noise, rng=np.random.default_rng(0))
        assert fit is not None
        assert fit.separable < 0.1

    @pytest.mark.parametrize("count", [0, FEWEST - 1])
    def test_too_few_pairs_or_prompts_give_no_figure(self, count: int) -> None:
        random = Random(4)
        some = [SurfacePair(f"p{n}", text(random), text(random), 1.0) for n in range(count)]
        one_prompt = [SurfacePair("p", text(random), text(random), 1.0) for _ in range(200)]
        assert fit_surface(some, rng=np.random.default_rng(0)) is None
        assert fit_surface(one_prompt, rng=np.random.default_rng(0)) is None


class TestLargeStreams:
    SIZE = 100_000

    def stream(self) -> Iterator[BelievedPair]:
        random = Random(5)
        body = "x" * 2000
        for number in range(self.SIZE):
            side = random.random() < 0.5
            yield BelievedPair(
                f"p{number // 2}", f"q{number // 2}", "c", f"{body}{number}", f"{number}{body}", float(side), True, None
            )

    def test_memory_is_a_few_dozen_bytes_a_pair(self) -> None:
        """400 MB of text go through; the sample holds 8 MB of it."""
        tracemalloc.start()
        figures = assess(self.stream(), seed=0)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert figures.pairs == self.SIZE
        assert figures.surface is not None
        assert figures.surface.sampled_pairs == SAMPLED
        assert peak < 40e6

    def test_same_seed_same_report(self) -> None:
        some = pairs(SAMPLED + 300)
        assert assess(some, seed=1) == assess(some, seed=1)
        assert assess(some, seed=1).surface != assess(some, seed=2).surface
