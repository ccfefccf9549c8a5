"""People's answers and a judge's belief as one probability, and what that does to a preference."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.rlaif.blending import Blended, CalibratedOnTheSame, PeopleSaid, blend, require_apart
from app.rlaif.comparison import Answer, Order, Verdict
from app.rlaif.preferences import DropReason, Preference, aggregate, heed
from app.rlaif.sections import PeopleConfig, PreferConfig

A, B, TIE = Answer.A, Answer.B, Answer.TIE
answers = st.lists(st.sampled_from([A, B, TIE]), max_size=7).map(tuple)
said = st.builds(PeopleSaid, answers, st.sampled_from([None, A, B, TIE]))
beliefs = st.none() | st.floats(0, 1)
configs = st.builds(
    PeopleConfig,
    queue=st.just("queue_1"),
    policy=st.sampled_from(["ignore", "people_first", "weighted"]),
    judge_votes=st.floats(0.01, 100),
)


def config(policy: Any, **changes: Any) -> PeopleConfig:
    return PeopleConfig(queue="queue_1", policy=policy, **changes)


class TestBlend:
    @pytest.mark.parametrize(
        ("policy", "judged", "said", "expected", "heeded"),
        [
            ("ignore", 0.7, PeopleSaid((B, B), B), 0.7, False),
            ("ignore", None, PeopleSaid((B, B), B), None, False),
            ("people_first", 0.7, PeopleSaid((B, B), B), 0.0, True),
            ("people_first", 0.7, PeopleSaid((A, B, A), A), 1.0, True),
            ("people_first", 0.7, PeopleSaid((A, B, TIE), TIE), 0.5, True),
            ("people_first", 0.7, PeopleSaid((A, B), None), 0.7, False),
            ("people_first", None, PeopleSaid((A,), A), 1.0, True),
            ("weighted", 0.5, PeopleSaid((A,), A), 0.75, True),
            ("weighted", 0.5, PeopleSaid((A, TIE, B), None), 0.5, True),
            ("weighted", None, PeopleSaid((A, A, TIE, B), None), 0.625, True),
            ("weighted", 0.7, PeopleSaid((), None), 0.7, False),
        ],
    )
    def test_by_policy(
        self, policy: str, judged: float | None, said: PeopleSaid, expected: float | None, heeded: bool
    ) -> None:
        blended = blend(judged, said, config(policy))
        assert (blended.probability, blended.heeded, blended.judged) == (expected, heeded, judged)

    def test_the_judge_is_worth_so_many_votes(self) -> None:
        assert blend(0.0, PeopleSaid((A,), A), config("weighted", judge_votes=3.0)).probability == 0.25

    @given(beliefs, said, configs)
    def test_from_the_other_side_it_is_the_complement(
        self, judged: float | None, said: PeopleSaid, config: PeopleConfig
    ) -> None:
        blended = blend(judged, said, config)
        other = blend(None if judged is None else 1 - judged, said.swap(), config)
        assert other.heeded is blended.heeded
        if blended.probability is None:
            assert other.probability is None
        else:
            assert other.probability == pytest.approx(1 - blended.probability, abs=1e-12)

    @given(beliefs, said, configs, st.randoms(use_true_random=False))
    def test_the_order_of_the_answers_changes_nothing(
        self, judged: float | None, said: PeopleSaid, config: PeopleConfig, rng: random.Random
    ) -> None:
        shuffled = list(said.answers)
        rng.shuffle(shuffled)
        other = blend(judged, PeopleSaid(tuple(shuffled), said.settled), config)
        assert other.probability == blend(judged, said, config).probability

    @given(st.floats(0, 1), said, configs)
    def test_it_lies_between_the_judge_and_the_people(
        self, judged: float, said: PeopleSaid, config: PeopleConfig
    ) -> None:
        votes = [{A: 1.0, TIE: 0.5, B: 0.0}[answer] for answer in said.answers] or [judged]
        settled = [] if said.settled is None else [{A: 1.0, TIE: 0.5, B: 0.0}[said.settled]]
        blended = blend(judged, said, config).probability
        assert blended is not None
        assert min(judged, *votes, *settled) - 1e-12 <= blended <= max(judged, *votes, *settled) + 1e-12


class TestHeed:
    """What a judge lacked no longer counts where people have a part in the belief."""

    @staticmethod
    def judged(ab: float, ba: float, prefer: PreferConfig) -> Preference:
        leans = {True: A, False: B}
        return aggregate(
            [Verdict("j", order, leans[p > 0.5], p) for order, p in ((Order.AB, ab), (Order.BA, ba))], prefer
        )

    @staticmethod
    def heard(preference: Preference, people: PeopleSaid, prefer: PreferConfig) -> Preference:
        assert prefer.people is not None
        return heed(preference, blend(preference.probability, people, prefer.people), prefer)

    def test_an_inconsistent_judge_is_replaced(self) -> None:
        prefer = PreferConfig(inconsistent="drop", people=config("people_first"))
        judged = self.judged(0.9, 0.2, prefer)
        assert judged.drop_reason is DropReason.INCONSISTENT
        heard = self.heard(judged, PeopleSaid((B,), B), prefer)
        assert (heard.probability, heard.weight, heard.drop_reason) == (0.0, 1.0, None)
        assert heard.answers == judged.answers

    def test_no_verdict_is_replaced(self) -> None:
        prefer = PreferConfig(people=config("people_first"))
        heard = self.heard(aggregate([], prefer), PeopleSaid((A,), A), prefer)
        assert (heard.probability, heard.drop_reason) == (1.0, None)

    def test_peoples_tie_is_a_tie(self) -> None:
        prefer = PreferConfig(tie_weight=0.25, people=config("people_first"))
        heard = self.heard(self.judged(0.9, 0.9, prefer), PeopleSaid((TIE,), TIE), prefer)
        assert (heard.probability, heard.weight) == (0.5, 0.25)

    def test_the_margin_is_that_of_what_is_believed_now(self) -> None:
        prefer = PreferConfig(minimum_margin=0.5, people=config("weighted"))
        weak = self.judged(0.6, 0.6, prefer)
        assert weak.drop_reason is DropReason.BELOW_MARGIN
        assert self.heard(weak, PeopleSaid((A,), A), prefer).drop_reason is None
        strong = self.judged(0.9, 0.9, prefer)
        assert self.heard(strong, PeopleSaid((B,), B), prefer).drop_reason is DropReason.BELOW_MARGIN

    @pytest.mark.parametrize(
        ("policy", "people"),
        [
            ("ignore", PeopleSaid((B,), B)),
            ("people_first", PeopleSaid((A, B), None)),
            ("weighted", PeopleSaid((), None)),
        ],
    )
    def test_who_is_not_heeded_changes_nothing(self, policy: str, people: PeopleSaid) -> None:
        prefer = PreferConfig(inconsistent="drop", people=config(policy))
        judged = self.judged(0.9, 0.2, prefer)
        heard = self.heard(judged, people, prefer)
        assert isinstance(heard.blended, Blended)
        assert (heard.probability, heard.weight, heard.drop_reason) == (
            judged.probability,
            judged.weight,
            judged.drop_reason,
        )

    def test_swap_turns_what_people_said_too(self) -> None:
        prefer = PreferConfig(people=config("weighted"))
        heard = self.heard(self.judged(0.75, 0.75, prefer), PeopleSaid((A, TIE), A), prefer)
        turned = heard.swap()
        assert turned.swap() == heard
        assert turned.blended is not None
        assert turned.blended.said == PeopleSaid((B, TIE), B)


def test_labels_are_measured_with_or_trained_on() -> None:
    require_apart("queue_1", calibrated_on="queue_2")
    with pytest.raises(CalibratedOnTheSame, match="queue_1"):
        require_apart("queue_1", calibrated_on="queue_1")
