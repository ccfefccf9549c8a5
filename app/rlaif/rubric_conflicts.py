"""Two criteria that cannot both be met, and two that are one: seen in checks, lengths, opposites and negations."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from app.rlaif.checks import STOP_WORDS, score_check
from app.rlaif.rubric import Check, Criterion, PatternCheck, WordsCheck
from app.rlaif.rubric_finding import Finding, FindingKind
from app.rlaif.rubric_lengths import Length, apart, demanded_lengths
from app.rlaif.rubric_wording import SUBJECT, unquoted

_WORD = re.compile(r"[^\W_]+(?:['\u2019]\w+)*")
_NEGATION = re.compile(
    r"\b(?:no|not|never|without|avoids?|nor|neither|none|nothing|free of|refrains? from|instead of|rather than|omits?|"
    r"cannot)\b|n['\u2019]t\b",
    re.IGNORECASE,
)
_CONDITION = re.compile(r"\b(?:only|if|unless|when|where|except|until|other than|beyond|besides)\b", re.IGNORECASE)
# Words that carry no subject of their own: who is judged, that it must, and how often.
_PLACES = frozenset(_WORD.findall("above after before below down in more most off on out over own under up"))
_EMPTY = (STOP_WORDS - _PLACES) | frozenset(
    _WORD.findall(
        "answer answers response responses reply text message output completion model assistant must should shall "
        "always ever every never not no without avoid avoids contain contains include includes use uses make makes "
        "give gives provide provides written write writes user free refrain refrains from nothing none neither nor "
        "cannot mention mentions"
    )
)
_AGREE = 0.8  # share of their words that two criteria have in common, from which they are one


@dataclass(frozen=True)
class _Claim:
    """A criterion as the rules below read it."""

    criterion: Criterion

    @cached_property
    def text(self) -> str:
        return unquoted(self.criterion.description)

    @cached_property
    def subject(self) -> frozenset[str]:
        """Stems of the words that say what it is about."""
        words = _WORD.findall(self.criterion.description.casefold())
        return frozenset(_stem(word) for word in words if word not in _EMPTY)

    @cached_property
    def negated(self) -> bool:
        return _NEGATION.search(self.text) is not None

    @cached_property
    def conditional(self) -> bool:
        return _CONDITION.search(self.text) is not None

    @cached_property
    def lengths(self) -> tuple[Length, ...]:
        return demanded_lengths(self.criterion)

    @cached_property
    def ends(self) -> dict[int, dict[int, str]]:
        """By axis and end of it, the words that demand that end."""
        found = {at: dict(_demands(axis, self.text)) for at, axis in enumerate(_AXES)}
        return {at: ends for at, ends in found.items() if ends}


def conflicts(criteria: Sequence[Criterion]) -> Iterator[Finding]:
    """Contradictions and duplicates between criteria, and a criterion's contradictions with itself."""
    claims = [_Claim(criterion) for criterion in criteria]
    for index, claim in enumerate(claims):
        yield from _with_itself(claim)
        for earlier in claims[:index]:
            yield from _between(earlier, claim)


def _with_itself(claim: _Claim) -> Iterator[Finding]:
    criterion = claim.criterion
    pairs = [(one, other) for index, one in enumerate(claim.lengths) for other in claim.lengths[:index]]
    words = [quote for one, other in pairs for quote in apart(one, other)]
    if isinstance(criterion.check, WordsCheck):
        words += _forbidden(criterion.check, criterion.check)
    if words:
        yield _contradiction(claim, claim, tuple(dict.fromkeys(words)))


def _between(one: _Claim, other: _Claim) -> Iterator[Finding]:
    words = [*_checks_exclude(one.criterion.check, other.criterion.check), *_lengths_apart(one, other)]
    words += _opposites(one, other)
    if not words and _same_but_negated(one, other):
        words = [one.criterion.description, other.criterion.description]
    if words:
        yield _contradiction(one, other, tuple(dict.fromkeys(words)))
    elif _same(one, other):
        yield _duplicate(one, other)


def _contradiction(one: _Claim, other: _Claim, words: tuple[str, ...]) -> Finding:
    alone = one is other
    return Finding(
        criterion=other.criterion.name,
        kind=FindingKind.CONTRADICTORY,
        words=words,
        why="no response can satisfy it: what it demands excludes itself"
        if alone
        else f"no response can satisfy both it and {one.criterion.name!r}: the weights then decide, not the rubric",
        remedy="make its parts agree" if alone else "drop one of the two, or say in which case each of them holds",
        other=None if alone else one.criterion.name,
    )


def _duplicate(one: _Claim, other: _Claim) -> Finding:
    return Finding(
        criterion=other.criterion.name,
        kind=FindingKind.DUPLICATE,
        words=(one.criterion.description, other.criterion.description),
        why=f"it demands what {one.criterion.name!r} demands, so that demand counts twice",
        remedy="keep one of the two and give it the weight of both",
        other=one.criterion.name,
    )


def _checks_exclude(one: Check | None, other: Check | None) -> list[str]:
    if isinstance(one, WordsCheck) and isinstance(other, WordsCheck):
        return [*_forbidden(one, other), *_forbidden(other, one)]
    if isinstance(one, PatternCheck) and isinstance(other, PatternCheck):
        opposed = one.pattern == other.pattern and one.must_match is not other.must_match
        return [one.pattern] if opposed else []
    return []


def _forbidden(wanted: WordsCheck, forbidding: WordsCheck) -> list[str]:
    """The phrases that `wanted` cannot do without and `forbidding` forbids, alone or inside a longer phrase."""
    if not forbidding.none_of:
        return []
    ban = WordsCheck(kind="words", none_of=forbidding.none_of)
    banned = [phrase for phrase in (*wanted.all_of, *wanted.any_of) if not _scores(ban, phrase)]
    needed = [phrase for phrase in wanted.all_of if phrase in banned]
    if wanted.any_of and all(phrase in banned for phrase in wanted.any_of):
        needed += wanted.any_of
    return needed


def _scores(check: WordsCheck, text: str) -> float:
    return score_check(check, text, prompt="", reference=None)


def _lengths_apart(one: _Claim, other: _Claim) -> list[str]:
    return [quote for a in one.lengths for b in other.lengths for quote in apart(a, b)]


_ENDS = (
    re.compile("ations?$"),
    re.compile("(?:ings?|edly|ed|es|s|ly|e)$"),
)


def _stem(word: str) -> str:
    """The word without its ending: enough to see that cites, cited and citation are about one thing."""
    for end in _ENDS:
        if len(shorter := end.sub("", word)) >= 3:
            word = shorter
    return word


def _same(one: _Claim, other: _Claim) -> bool:
    checks = one.criterion.check, other.criterion.check
    if None not in checks:
        return checks[0] == checks[1]
    shared, both = one.subject & other.subject, one.subject | other.subject
    return bool(shared) and len(shared) >= _AGREE * len(both) and one.negated == other.negated


def _same_but_negated(one: _Claim, other: _Claim) -> bool:
    """One forbids all that the other demands, without a case in which it does not."""
    if one.negated == other.negated or one.conditional or other.conditional:
        return False
    demanded, forbidden = (other, one) if one.negated else (one, other)
    return bool(forbidden.subject) and forbidden.subject <= demanded.subject <= _widened(forbidden, demanded)


def _widened(forbidden: _Claim, demanded: _Claim) -> frozenset[str]:
    """What is forbidden with one more word of what is demanded: `no code` and `a code block`."""
    more = demanded.subject - forbidden.subject
    return demanded.subject if len(more) <= 1 else forbidden.subject


_WHOLE = rf"(?= *(?:[.,;:!?]|$|(?:and|or|but|yet|in|to|as|at|with)\b|{SUBJECT}\b))"
_LANGUAGES = _WORD.findall(
    "English French German Spanish Italian Portuguese Dutch Chinese Japanese Arabic Russian Hindi Polish Turkish"
)


def _compiled(*axes: tuple[str, ...]) -> tuple[tuple[re.Pattern[str], ...], ...]:
    return tuple(tuple(re.compile(end, re.IGNORECASE) for end in axis) for axis in axes)


# Each row: ways of writing of which a response has one. A word counts where it is said of the whole response.
_STYLE = rf"(?:{_WHOLE}| (?:language|tone|style|register|english)\b)"
_NO_ARTICLE = r"(?<!\ba )(?<!\ban )(?<!\bthe )(?<!\bone )"
_AXES = _compiled(
    (
        rf"{_NO_ARTICLE}\b(?:brief|short|concise|terse|succinct){_WHOLE}|\ba (?:brief|short) {SUBJECT}\b",
        rf"{_NO_ARTICLE}\b(?:exhaustive|comprehensive|lengthy|verbose|in[- ]depth){_WHOLE}"
        r"|\b(?:exhaustively|every detail|in full detail|in (?:great|much) (?:detail|depth)|at (?:great )?length)\b"
        r"|\bas detailed as possible\b",
    ),
    (
        rf"\bformal(?:ly)?{_STYLE}",
        rf"\b(?:informal|colloquial|casual|chatty)(?:ly)?{_STYLE}|\bslang\b",
    ),
    (r"\bbritish (?:english|spelling)\b", r"\bamerican (?:english|spelling)\b"),
    (r"\bfirst person\b", r"\bsecond person\b", r"\bthird person\b"),
    (r"\bpast tense\b", r"\bpresent tense\b", r"\bfuture tense\b"),
    (
        r"\b(?:continuous|flowing|running|plain) prose\b|\bas prose\b|\b(?:single|one) paragraph\b",
        r"\bbullet(?:ed)? (?:points?|lists?)\b|\bnumbered list\b|\bas a (?:list|table)\b",
    ),
    (r"\bplain text\b", r"\bmarkdown\b|\bhtml\b"),
    (
        r"\b(?:neutral|impartial|balanced)\b|\btakes? no side",
        r"\btakes? (?:a|one) side\b|\b(?:persuasive|one-sided)\b",
    ),
    (rf"\bserious{_WHOLE}", r"\b(?:humorous|funny|jokes?|witty)\b"),
    (
        r"\bplain (?:language|words|english)\b|\bsimple (?:language|words)\b",
        r"\b(?:technical )?jargon\b|\btechnical language\b",
    ),
    tuple(rf"\b(?:written|answers?|repl(?:y|ies)|responds?|is|only|entirely) in {name}\b" for name in _LANGUAGES),
)
_REACH = 5  # words before a word that can negate it


def _opposites(one: _Claim, other: _Claim) -> list[str]:
    """The words by which the two demand different ends of one axis."""
    if one.conditional or other.conditional:
        return []
    for axis in one.ends.keys() & other.ends.keys():
        mine, theirs = one.ends[axis], other.ends[axis]
        if not mine.keys() & theirs.keys():
            return [next(iter(mine.values())), next(iter(theirs.values()))]
    return []


def _demands(axis: Sequence[re.Pattern[str]], text: str) -> Iterator[tuple[int, str]]:
    """The ends that the text demands and does not forbid, each with its words."""
    for place, end in enumerate(axis):
        for match in end.finditer(text):
            before = re.split(r"[.;:]|, (?:but|and)", text[max(match.start() - 100, 0) : match.start()])[-1]
            if not _NEGATION.search(" ".join(before.split()[-_REACH:])):
                yield place, match[0]
                break
