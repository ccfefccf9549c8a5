"""How fast an endpoint may be called: the law by which a refusal is answered, and the bucket that keeps to it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from app.rlaif.limits import (
    BACK_OFF,
    FIRST_PERIOD_S,
    LEAST_SHARE,
    LONGEST_PERIOD_S,
    Ceiling,
    endpoint_key,
    refused_rate,
    strained_flight,
)
from workers.judges.bucket import Bucket

rates = st.floats(0.1, 1e5)


class TestCeiling:
    def test_begins_below_what_was_refused_and_comes_back_to_it(self) -> None:
        assert Ceiling(100.0, 0.0, 30.0).allowed() == 100.0 * (1 - BACK_OFF)
        assert Ceiling(100.0, 30.0, 30.0).allowed() == 100.0
        assert Ceiling(100.0, 90.0, 30.0).allowed() > 130.0

    @given(rates, st.floats(0, 300), st.floats(0, 300))
    def test_never_falls_with_time(self, value: float, one: float, other: float) -> None:
        early, late = sorted((one, other))
        assert Ceiling(value, early, 30.0).allowed() <= Ceiling(value, late, 30.0).allowed()

    def test_spends_most_of_its_time_near_what_was_refused(self) -> None:
        allowed = [Ceiling(100.0, at / 10, 30.0).allowed() for at in range(300)]
        assert sum(allowed) / len(allowed) > 96.0


def refused(known: Ceiling | None, per_second: float = 50.0, share: float = 1.0) -> Ceiling:
    return refused_rate(known, accepted_per_second=per_second, accepted_share=share)


class TestRefusal:
    def test_the_first_one_takes_what_was_accepted(self) -> None:
        assert refused(None, 40.0) == Ceiling(40.0, 0.0, FIRST_PERIOD_S)

    def test_that_agrees_with_the_last_one_waits_longer_for_the_next_attempt(self) -> None:
        assert refused(Ceiling(100.0, 16.0, 16.0), share=0.99) == Ceiling(99.0, 0.0, LONGEST_PERIOD_S)

    def test_that_disagrees_begins_to_learn_anew(self) -> None:
        assert refused(Ceiling(10.0, 90.0, 15.0)).period_s == FIRST_PERIOD_S

    def test_soon_after_another_goes_a_little_below_what_was_tried(self) -> None:
        known = Ceiling(100.0, 1.5, 16.0)
        assert refused(known).value == LEAST_SHARE * known.allowed()

    def test_of_a_crowd_takes_no_more_than_a_little(self) -> None:
        known = Ceiling(100.0, 16.0, 16.0)
        assert refused(known, per_second=1.0, share=0.1).value == 100.0 * LEAST_SHARE

    @given(rates, st.floats(0, 300), st.floats(0, 1))
    def test_never_allows_more_than_what_was_refused(self, value: float, since_s: float, share: float) -> None:
        known = Ceiling(value, since_s, 16.0)
        assert refused(known, share=share).allowed() <= max(known.allowed(), 0.01)

    def test_an_overload_leaves_room_for_one(self) -> None:
        assert strained_flight(100).value == 70.0
        assert strained_flight(1).value == 1.0


class TestKey:
    def test_is_of_address_model_and_secret(self) -> None:
        keys = {
            endpoint_key("https://a/v1", "m", None),
            endpoint_key("https://a/v1", "m", "s"),
            endpoint_key("https://a/v1", "n", "s"),
            endpoint_key("https://b/v1", "n", "s"),
        }
        assert len(keys) == 4


class TestBucket:
    @given(st.floats(0.5, 500), st.integers(1, 200))
    def test_lets_no_more_through_than_its_rate_and_a_moments_worth(self, rate: float, steps: int) -> None:
        bucket, passed, seconds = Bucket(rate, now=0.0), 0, steps / 10
        for now in (at / 100 for at in range(steps * 10)):
            while bucket.wait_s(1.0, now=now) == 0.0:
                bucket.take(1.0)
                passed += 1
        assert passed <= rate * seconds + max(1.0, rate / 10) + 1

    def test_says_how_long_to_wait(self) -> None:
        bucket = Bucket(2.0, now=0.0)
        bucket.take(1.0)
        assert bucket.wait_s(1.0, now=0.0) == 0.5
        assert bucket.wait_s(1.0, now=0.25) == 0.25
        assert bucket.wait_s(1.0, now=0.5) == 0.0

    def test_what_asks_for_more_than_it_holds_goes_first_and_pays_later(self) -> None:
        bucket = Bucket(10.0, now=0.0)
        assert bucket.wait_s(50.0, now=0.0) == 0.0
        bucket.take(50.0)
        assert bucket.wait_s(1.0, now=0.0) == 5.0

    def test_after_a_hold_nothing_comes_all_at_once(self) -> None:
        bucket = Bucket(100.0, now=0.0)
        bucket.drain(until=2.0)
        assert bucket.wait_s(1.0, now=1.0) == 0.0
        bucket.take(1.0)
        assert bucket.wait_s(1.0, now=2.0) > 0

    def test_without_a_rate_everything_passes(self) -> None:
        assert Bucket(None, now=0.0).wait_s(1e9, now=0.0) == 0.0
