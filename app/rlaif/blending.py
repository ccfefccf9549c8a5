"""How people's answers and a judge's belief about one comparison become one probability, by declared policy."""

from __future__ import annotations

from dataclasses import dataclass, replace

from app.rlaif.comparison import Answer
from app.rlaif.sections import PeopleConfig

_VOTES = {Answer.A: 1.0, Answer.TIE: 0.5, Answer.B: 0.0}


class CalibratedOnTheSame(ValueError):
    """Raised when the labels that a judge was calibrated on would be trained on."""


@dataclass(frozen=True, slots=True)
class PeopleSaid:
    """What people answered about a comparison, one each (A, B or TIE), and what that settled on, if it did."""

    answers: tuple[Answer, ...]
    settled: Answer | None

    def swap(self) -> PeopleSaid:
        return PeopleSaid(
            tuple(answer.swap() for answer in self.answers), None if self.settled is None else self.settled.swap()
        )


@dataclass(frozen=True, slots=True)
class Blended:
    """P(first is better) and where it comes from. `heeded` says whether people's answers had any part in it."""

    probability: float | None
    judged: float | None
    said: PeopleSaid
    heeded: bool

    def swap(self) -> Blended:
        return replace(self, probability=_other(self.probability), judged=_other(self.judged), said=self.said.swap())


def blend(judged: float | None, said: PeopleSaid, config: PeopleConfig) -> Blended:
    """`ignore` leaves the judge's belief; `people_first` puts people's settled answer in its place; `weighted` takes
    each person as one vote and the judge as `judge_votes`. Where nobody answered, the judge's belief stays."""
    people = _people(judged, said, config)
    return Blended(judged if people is None else people, judged, said, heeded=people is not None)


def require_apart(queue_id: str, *, calibrated_on: str) -> None:
    """Labels are measured with or trained on, never both: `calibrated_on` is the queue whose snapshot calibrated the
    run's judge. Raises CalibratedOnTheSame."""
    if queue_id == calibrated_on:
        raise CalibratedOnTheSame(
            f"the judge was calibrated on a snapshot of annotation queue {queue_id!r}, so its labels cannot be trained "
            "on too: name another queue in prefer.people, or calibrate on other labels"
        )


def _people(judged: float | None, said: PeopleSaid, config: PeopleConfig) -> float | None:
    """The probability in which people have a part; None where the policy or their silence leaves them none."""
    if config.policy == "people_first" and said.settled is not None:
        return _VOTES[said.settled]
    if config.policy == "weighted" and said.answers:
        weight = 0.0 if judged is None else config.judge_votes
        # In this order the sum of votes, which are halves, is exact: the answers' order changes nothing.
        votes = sum(_VOTES[answer] for answer in said.answers)
        return (votes + weight * (judged or 0.0)) / (len(said.answers) + weight)
    return None


def _other(probability: float | None) -> float | None:
    return None if probability is None else 1.0 - probability
