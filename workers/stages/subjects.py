"""What an evaluation without training measures, and what it is measured against: a model's weights, or an endpoint."""

from __future__ import annotations

from app.db.ids import Kind
from app.repositories.run_inputs import JudgeRow, ModelRow, judge_row, model_row
from app.rlaif.measure import MeasureConfig
from workers.stages.contract import StageContext
from workers.stages.weights import verified_text

Subject = ModelRow | JudgeRow


def subject(context: StageContext, id_: str) -> Subject:
    """By its id: of a model, or of a judge whose endpoint answers."""
    with context.read() as session:
        return judge_row(session, id_) if id_.startswith(f"{Kind.JUDGE}_") else model_row(session, id_)


def tokenizer_key(context: StageContext, measure: MeasureConfig) -> str | None:
    """Where the files of the model lie by whose tokenizer an endpoint's answers are counted, so that lengths compare;
    None between two endpoints, which are compared by characters."""
    for id_ in (measure.baseline, measure.measured):
        if isinstance(found := subject(context, id_), ModelRow):
            return found.storage_key
    return None


def comparable(context: StageContext, measure: MeasureConfig) -> bool:
    """Whether both are models of one tokenizer: how far one has gone from the other can then be told."""
    found = [subject(context, id_) for id_ in (measure.baseline, measure.measured)]
    keys = [each.storage_key for each in found if isinstance(each, ModelRow)]
    texts = {verified_text(context, key, "tokenizer.json") for key in keys}
    return len(keys) == len(found) and len(texts) == 1
