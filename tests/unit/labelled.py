"""Labelled comparisons and their judges for property tests."""

from __future__ import annotations

import random
from datetime import UTC, datetime

from app.rlaif.annotation import GivenAnswer
from app.rlaif.beliefs import lean
from app.rlaif.calibration_evidence import CalibrationReport
from app.rlaif.calibration_report import Member, Method, Setting, Subject, build
from app.rlaif.comparison import Answer, InvalidReason, Order, Verdict
from app.rlaif.labelled import Asked, Labelled
from app.rlaif.people import Divided

JUDGES = ("ada", "bob", "cyd")


def asked(judge: str, ab: float | None, ba: float | None) -> tuple[Asked, ...]:
    """A judge's two answers; None is INVALID."""
    return tuple(
        Asked(Verdict(judge, order, Answer.INVALID, None), InvalidReason.REFUSAL)
        if probability is None
        else Asked(Verdict(judge, order, lean(probability), probability), None)
        for order, probability in ((Order.AB, ab), (Order.BA, ba))
    )


def labelled(
    number: int, outcome: float, *answers: tuple[Asked, ...], people: tuple[GivenAnswer, ...] = (), length: int = 10
) -> Labelled:
    """One comparison of a prompt of its own; the first completion has `length` characters, the second ten."""
    return Labelled(
        prompt_id=f"prompt-{number:03}",
        cohort="even" if number % 2 == 0 else "odd",
        outcome=outcome,
        people=people,
        asked=tuple(each for given in answers for each in given),
        lengths=(length, 10),
        authors=("ada-family", "other"),
    )


SETTING = Setting("revision_1", "hash", "pset_1", "digest", "run_1", datetime(2026, 1, 1, tzinfo=UTC))
METHOD = Method(folds=4, samples=100, seed=3)
MEMBERS = tuple(Member(judge, judge.title(), f"{judge}-family") for judge in JUDGES)
PANEL = Subject("panel_1", "Panel", "panel", "a+b+c", MEMBERS)
SOLE = Subject("ada", "Ada", "openai", "ada-family", MEMBERS[:1])
ANSWERS = (None, 0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)


def drawn(seed: int, size: int) -> list[Labelled]:
    """Comparisons of distinct prompts; each judge answers some of them, and people decide most."""
    rng = random.Random(seed)
    return [
        labelled(
            number,
            rng.choice([0.0, 0.0, 1.0, 1.0, 0.5]),
            *(asked(judge, rng.choice(ANSWERS), rng.choice(ANSWERS)) for judge in JUDGES),
            length=rng.randint(5, 15),
        )
        for number in range(size)
    ]


def report_of(rows: list[Labelled], subject: Subject = SOLE, divided: tuple[Divided, ...] = ()) -> CalibrationReport:
    return build(subject, SETTING, rows, divided, METHOD)


def answering(n: int, *, right: int, ties: int = 0) -> list[Labelled]:
    """Ada is right about the first `right` of `n` comparisons, and people find the last `ties` equal."""
    rows = []
    for number in range(n):
        outcome = 0.5 if number >= n - ties else float(number % 2)
        side = float(number % 2) if number < right else 1.0 - number % 2
        rows.append(labelled(number, outcome, asked("ada", 0.1 + 0.8 * side, 0.1 + 0.8 * side)))
    return rows
