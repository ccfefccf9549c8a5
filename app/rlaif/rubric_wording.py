"""What a single description's words give away: each rule answers the words that caused a finding, or none.

The rules are made to be silent when in doubt: a linter that cries wolf is switched off. What stands in quotation marks
is mentioned, not demanded, so no rule but that of templates reads it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

Words = tuple[str, ...]


SUBJECT = r"(?:answer|response|reply|text|message|output|completion|explanation|solution|summary|result)s?"
# Every repetition is bounded, so that no text takes longer than its length is worth.
_QUOTED = re.compile(
    r"\"[^\"]{0,500}\"|\u201c[^\u201d]{0,500}\u201d|\u2018[^\u2019]{0,500}\u2019|`[^`]{0,500}`|(?<!\w)'[^']{0,500}'(?!\w)"
)
_LIST = re.compile(r"\S+")
_SENTENCE = re.compile(r"[^.!?]+[.!?]*")


def _rule(*patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(patterns), re.IGNORECASE)


def unquoted(text: str) -> str:
    """The text with what stands in quotation marks blanked, so that places stay what they are."""
    return _QUOTED.sub(lambda match: '"' + " " * (len(match[0]) - 2) + '"', text)


def sentences(text: str) -> list[str]:
    return [match[0].strip() for match in _SENTENCE.finditer(text) if match[0].strip(" .!?")]


_WHICH_ONE = r"(?:context|situation|task|case|circumstances?|question|prompt|request|user|audience|topic|purpose)"
_VAGUE = _rule(
    r"\b(?:good|great)\b(?! (?:faith|day|night|morning|evening|afternoon|britain|depression|war)\b)",
    r"\b(?:nice(?:ly)?|excellent|outstanding|decent|satisfactory|acceptable|impressive|compelling|interesting)\b",
    r"\b(?:is|are|be|of) (?:poor|bad)\b",
    r"\bpoorly\b",
    r"\b(?:(?:high|low|good|poor|overall|sufficient)[- ]quality|quality of the " + SUBJECT + r")\b",
    r"\b(?:in)?(?:appropriate|adequate|sufficient)(?:ly)?\b(?! (?:for|to) (?!the (?:\w+ )?" + _WHICH_ONE + r"\b))",
    r"\b(?:suitable|suitably)\b(?! (?:for|to) (?!the (?:\w+ )?" + _WHICH_ONE + r"\b))",
    r"\bproper(?:ly)?\b(?! (?:noun|name|fraction))",
    r"\b(?:un)?reasonabl[ey]\b(?! (?:doubt|accommodation|person))",
    r"(?<!-)\b(?:effective(?:ly)? (?:way|manner|" + SUBJECT + r")|(?:is|be) effective)\b",
    r"\b(?:is|be) (?:useful|engaging)\b|\bengaging (?:way|manner|tone|style|" + SUBJECT + r")\b",
    r"\bwell[- ](?:written|structured|organi[sz]ed|crafted|thought[- ]out|done|presented|formulated)\b",
    r"\b(?:is|be) (?:better|optimal|ideal)\b(?! than)",
    r"\betc\b\.?(?![^()]{0,50}\))|\band so (?:on|forth)\b",
    r"\b(?:as|if|where|when) (?:needed|necessary|appropriate|applicable|suitable)\b",
    r"\bmakes? sense\b|\bthe right (?:thing|way)\b|\buser[- ]friendly\b",
)
_CONCRETE = _rule(
    r":\s*\S", r"\bsuch as\b", r"\bfor (?:example|instance)\b", r"\be\.g\.", r"\bi\.e\.", r"\bthat is\b", r"\bnamely\b"
)
# Words that a judge can only read its own taste into when they are all that a description says.
_BARE = frozenset(
    _LIST.findall(
        "clear clearly helpful helpfully natural naturally professional professionally coherent readable detailed "
        "thorough informative logical smooth creative engaging useful effective quality"
    )
)
_SAYS_NOTHING = frozenset(
    _LIST.findall(
        "a an and answer answers as assistant be clearly completion enough fully has have high highly how in is it its "
        "language manner model must of output overall provide provides quite reads really reply response responses "
        "should sound sounds style text that the to tone very way well written"
    )
)


def vague(text: str) -> Words:
    """Words of praise without what deserves it. What a colon or an example makes concrete is not vague."""
    found = [match[0] for match in _VAGUE.finditer(text) if not _CONCRETE.search(text, match.end())]
    if found:
        return tuple(found)
    words = re.findall(r"[a-z]+(?:-[a-z]+)*", text.lower())
    said = [word for word in words if word not in _SAYS_NOTHING]
    return tuple(said) if said and _BARE.issuperset(said) and len(said) == 1 else ()


# Qualities by what they are about. Two of one row say one thing twice; two of different rows are two demands.
_QUALITIES = {
    word: row
    for row, line in enumerate(
        (
            "accurate correct factual true right error-free",
            "brief concise short succinct terse to-the-point",
            "polite friendly courteous kind respectful warm empathetic",
            "clear readable understandable intelligible legible",
            "complete thorough comprehensive exhaustive detailed informative",
            "relevant on-topic on-point",
            "safe harmless",
            "honest truthful transparent sincere",
            "formal informal professional casual",
            "creative original imaginative",
            "helpful useful",
            "grammatical well-formed",
            "consistent coherent logical",
            "neutral unbiased impartial objective",
            "specific concrete",
        )
    )
    for word in line.split()
}
_QUALITY = "(?:" + "|".join(sorted(_QUALITIES, key=len, reverse=True)) + ")"
_ADVERB = r"(?:(?:very|highly|fully|both|also|factually|grammatically) )?"
_QUALITY_RUN = re.compile(
    rf"\b{_QUALITY}\b(?:(?:,? (?:and|but|yet) |, (?:and |but )?| & ){_ADVERB}{_QUALITY}\b)+", re.IGNORECASE
)
_ACTS = _LIST.findall(
    "acknowledges adds admits advises analyses analyzes apologises apologizes avoids checks clarifies compares "
    "confirms considers contains corrects defines demonstrates describes discusses encourages ensures evaluates "
    "exceeds explains follows gives greets identifies ignores includes informs introduces invents justifies keeps "
    "maintains makes mentions omits presents proposes proves provides recommends refers refuses rejects repeats "
    "respects reveals says shows solves stays suggests summarises summarizes tells thanks translates treats "
    "understands verifies warns writes"
)
# Also plural nouns, so these count only before what begins an object.
_ALSO_NOUNS = _LIST.findall(
    "addresses answers asks cites ends lists names notes offers points quotes starts states uses"
)
_OBJECT = (
    r"(?: (?:a|an|the|its|their|his|her|no|at|one|two|every|each|all|any|only|it|them|that|why|how|what|with|in))\b"
)
_MUST = r"(?:must|should|shall|may not|cannot|can not|need(?:s)? to|has to)\b"


def _acts(act: list[str], also_nouns: list[str]) -> str:
    return rf"(?:(?:{'|'.join(act)})\b|(?:{'|'.join(also_nouns)}){_OBJECT}|cites? (?:\w+ )?(?:source|reference)s?\b)"


def _base(verbs: list[str]) -> list[str]:
    """Imperatives: `uses` is `use`, `discusses` is `discuss`."""
    return [re.sub(r"(?<=ss)es$|(?<!ss)s$", "", verb) for verb in verbs if not verb.endswith("ies")]


_STATES = r"(?:is|are|has|does|do not|never|contains)\b"
_ANY_ACT = rf"(?:{_STATES}|{_acts(_ACTS, [f'{verb}' for verb in _ALSO_NOUNS])})"
_SECOND = rf"(?:(?:it|the {SUBJECT}) )?(?:{_MUST}|(?:is|are|has|does not|never)\b|{_acts(_ACTS, _ALSO_NOUNS)})"
_IMPERATIVE = rf"(?:{'|'.join(_base(_ACTS) + _base(_ALSO_NOUNS))}|be|do not|never)\b"
_SECOND_IMPERATIVE = rf"(?:do not\b|never\b|be\b|{_acts(_base(_ACTS), _base(_ALSO_NOUNS))})"
_SUBORDINATE = _rule(
    r"\b(?:what|how|why|which|that|who|whom|whose|whether|when|where|if|because|unless|until|while|after|before|as|so)\b"
)
_AND = r",? (?:and|but)(?: also| then)? "
_JOINED = _rule(rf"{_AND}{_SECOND}")
_JOINED_ORDERS = _rule(rf"{_AND}{_SECOND_IMPERATIVE}")
_ORDER = _rule(rf"^{_IMPERATIVE}")
_AS_WELL = _rule(rf"\bas well as (?:(?:\w+ing|{'|'.join(_ACTS)})\b)")
_ALSO = _rule(r"\b(?:also|additionally|in addition|furthermore|moreover)\b")


def compound(text: str) -> Words:
    """Where a second demand begins. After a colon a demand is spelled out, so that part is not read."""
    claims = [sentence.partition(":")[0] for sentence in sentences(text)]
    found = [words for claim in claims for words in _two_in_one(claim)]
    found += [match[0] for claim in claims[1:] if (match := _ALSO.search(claim))]
    return tuple(dict.fromkeys(found))


def _two_in_one(claim: str) -> Iterator[str]:
    for run in _QUALITY_RUN.finditer(claim):
        words = re.findall(_QUALITY, run[0], re.IGNORECASE)
        if len({_QUALITIES[word.lower()] for word in words}) > 1:
            yield run[0]
    if addition := _AS_WELL.search(claim):
        yield addition[0]
    joined = _JOINED_ORDERS if _ORDER.match(claim) else _JOINED
    match = joined.search(claim) or _JOINED.search(claim)
    if match and _CLAIM.search(claim, 0, match.start()) and not _SUBORDINATE.search(claim, 0, match.start()):
        yield match[0].lstrip(", ")


_CLAIM = _rule(
    rf"(?:^|\b(?:{SUBJECT}|it|assistant|model|agent|bot) )(?:{_MUST}|{_ANY_ACT}|{_IMPERATIVE})", rf"\b{_MUST}"
)


_READER = r"(?:user|reader|customer|client|people|audience|person|listener|visitor|patient|student|human|recipient)s?"
_WRITER = r"(?:model|assistant|author|writer|agent|ai|bot|chatbot|system|llm)"
_IN_QUESTION = re.compile(r"\b(?:if|whether|when|unless|that|who)(?: (?:the|a|any))?\s*$", re.IGNORECASE)
_UNMEASURABLE = _rule(
    rf"\b{_READER} "
    r"(?:(?:will|would|should|can|must|is|are|feels?|felt|gets?|likely|to|be|feel|come|away|very|fully|really|truly) )*"
    r"(?:satisfied|happy|pleased|delighted|impressed|convinced|inspired|engaged|love|loves|like it|likes it|enjoys?|"
    r"come back|return|trusts?)\b",
    rf"\b(?:makes?|leaves?|keeps?) (?:the |every |any )?{_READER} "
    r"(?:feel\b|happy\b|satisfied\b|smile\b|interested\b|engaged\b|want\b|believe\b|think\b)",
    rf"\b(?:satisf(?:y|ies)|delights?|impress(?:es)?|inspires?|pleases?|excites?) (?:the )?{_READER}\b",
    rf"\b{_WRITER} (?:(?:truly|really|genuinely|actually|clearly|fully|deeply) )?"
    r"(?:understands|knows|believes|thinks|thought|wants|wanted|intends|intended|feels|cares|tries|tried|meant|"
    r"put (?:\w+ )?effort|made (?:an|every) effort)\b",
    r"\b(?:genuinely|truly|sincerely|deeply) (?:cares?|understands?|wants?|believes?|feels?)\b",
    r"\b(?:increas|improv|boost|driv|maximi[sz]|rais)(?:e|es|s|ing)? (?:\w+ )?"
    r"(?:retention|engagement|satisfaction|sales|revenue|conversions?|loyalty|productivity)\b",
    r"\b(?:best|most \w+) (?:possible|imaginable|conceivable)\b",
    rf"\b(?:is|be) (?:perfect|flawless)\b|\b(?:perfect|flawless) {SUBJECT}\b",
    r"\b(?:better|worse|smarter) than (?:any |all |most )?(?:other|competing|rival|previous) ",
    rf"\b(?:better|worse) than (?:what )?(?:a |an |any )?(?:human|expert|competitor|{_WRITER})",
    r"\bguarantee(?:s|d)? (?:that|success)\b|\bwill never (?:be|become|go) (?:outdated|wrong|obsolete)\b",
    r"\b(?:response time|latency)\b|\b(?:generated|produced|written) (?:quickly|fast|in (?:little|less) time)\b",
)


def unmeasurable(text: str) -> Words:
    """What neither the prompt nor the responses show: feelings, intentions, effects, what other models would say."""
    found = _UNMEASURABLE.finditer(text)
    return tuple(
        match[0].strip() for match in found if not _IN_QUESTION.search(text[max(match.start() - 20, 0) : match.start()])
    )


_MORE = r"(?:words?|texts?|details?|length|sentences|paragraphs|information|content)"
_REWARDED = r"(?:(?:is|are|be|scores?|ranks?|should|must|always) ){1,3}(?:better|preferred|higher|rewarded|best)"
_REWARDS_LENGTH = _rule(
    r"\bthe longer\b[^.]{0,80}?\bthe better\b",
    r"\bthe more (?:\w+ ){1,5}?the better\b",
    rf"\b(?:long|longer|lengthy|lengthier) (?:{SUBJECT} |ones? )?{_REWARDED}\b",
    rf"\bmore {_MORE} {_REWARDED}\b",
    r"\b(?:prefers?|favou?rs?|rewards?) (?:the |a )?(?:long|longer|longest|lengthy|lengthier)\b",
    r"\bas (?:long|lengthy|detailed|exhaustive|extensive|verbose) as possible\b",
    r"\bas (?:much|many) (?:\w+ ){0,3}?as possible\b",
    rf"\bmore {_MORE} than (?:the|any) other\b",
    r"\bmaximi[sz]es? (?:the )?(?:length|word count|number of words|amount of (?:detail|text|information))\b",
)
_NOT = _rule(r"\b(?:not|no|never|avoids?|without|penali[sz]es?|neither|nor)\b|n't\b")


def rewards_length(text: str) -> Words:
    """Wording by which saying more is always worth more."""
    return tuple(
        match[0]
        for sentence in sentences(text)
        for match in _REWARDS_LENGTH.finditer(sentence)
        if not _NOT.search(sentence)
    )


_DEGREE = _rule(
    r"^(?:evaluates?|assess(?:es)?|rates?|judges?|measures?|scores?|grades?)\b(?! (?:if|whether|that)\b)",
    r"^how (?!to\b)\w+",
    r"\b(?:degree|extent|level) to which\b",
    r"\bto what (?:extent|degree)\b",
    r"\bon a scale\b|\ba scale (?:of|from)\b",
)


def asks_for_a_degree(text: str) -> Words:
    """Wording that wants a mark instead of a yes or no."""
    return tuple(match[0] for match in _DEGREE.finditer(text.strip()))


_TEMPLATE = re.compile(
    r"\{\{[^{}]{0,200}\}\}|\{%[^%]{0,200}%\}|\$\{[^}]{0,200}\}"
    r"|\{(?:prompt|response|question|answer|criteri(?:on|a)|instruction|input|output|reference|topic|placeholder)s?\}"
    r"|<(?:your|insert|name of|placeholder)\b[^>]{0,200}>|\[(?:your|insert|placeholder|fill in)\b[^\]]{0,200}\]",
    re.IGNORECASE,
)
_UNFINISHED = re.compile(r"\b(?:TODO|TBD|FIXME|XXX)\b|\[[A-Z][A-Z_ ]{2,100}\]|\b[Ll]orem ipsum\b|\bgoes here\b")


def template_leftover(text: str) -> Words:
    """Places in a template that nobody filled. Braces are literal here: nothing fills them later."""
    found = [match[0] for match in _TEMPLATE.finditer(text)]
    found += [match[0] for match in _UNFINISHED.finditer(unquoted(text))]
    return tuple(dict.fromkeys(found))
