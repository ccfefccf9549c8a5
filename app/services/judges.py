"""Judges: AI annotators, refused at registration when their address, secret or model could not be used."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

from pydantic import TypeAdapter
from sqlalchemy.orm import Session

from app.addresses import AddressRefused, is_plain, require_allowed, require_private, resolve
from app.config import Settings
from app.db.ids import Kind, new_id
from app.db.models import CheckpointKind, Judge
from app.db.session import WriteSession
from app.errors import Conflict, InvalidInput, NotFound
from app.repositories import calibrations, endpoints, judges, results
from app.repositories.endpoints import Place, Shared
from app.repositories.named import insert_named
from app.repositories.pages import Chunk, Slice
from app.rlaif.architectures import is_encoder
from app.rlaif.judges import (
    CascadeJudge,
    JudgeSpec,
    LocalJudge,
    PanelJudge,
    RemoteJudge,
    ReplayJudge,
    RewardModelJudge,
    calibration_of,
    members_of,
)
from app.rlaif.limits import endpoint_key
from app.services import answer_sets, calibration_reports, models, secrets

_SPEC: TypeAdapter[JudgeSpec] = TypeAdapter(JudgeSpec)
COMPOSITE = ("panel", "cascade")


class JudgeAddressRefused(InvalidInput):
    """Raised when a judge's address is not public, or plain http for a secret, and the operator has not allowed it."""


class NotARewardModel(InvalidInput):
    """Raised when a judge is to be a reward model and its checkpoint is none."""


class MemberMissing(NotFound):
    """Raised when a panel or cascade names a judge that is not there."""


class MemberRefused(InvalidInput):
    """Raised when a panel or cascade names another panel or cascade."""


class CalibrationMissing(NotFound):
    """Raised when a panel or cascade names a calibration that is not there."""


class CalibrationRefused(InvalidInput):
    """Raised when a panel or cascade names a calibration of other judges."""


class NotAWriter(InvalidInput):
    """Raised when an encoder is named as a judge of kind `local`, which has to write its answer."""


class NoEndpoint(Conflict):
    """Raised when the endpoint of a judge is asked for that calls none."""


def require_address(spec: JudgeSpec, settings: Settings) -> None:
    """Raises JudgeAddressRefused. Asks the resolver, so it is called before any database connection is held."""
    if not isinstance(spec, RemoteJudge):
        return
    host = _host(spec)
    addresses, own = resolve(host), settings.allowed_networks()
    try:
        require_allowed(host, addresses, private_networks=own)
        if spec.secret is not None and is_plain(spec.base_url):
            require_private(host, addresses, private_networks=own)
    except AddressRefused as error:
        raise JudgeAddressRefused(str(error), field="spec.base_url") from error


def create(session: WriteSession, project_id: str, *, name: str, spec: JudgeSpec) -> Judge:
    """Raises NotFound for a model, checkpoint, answer set, secret, member or calibration, NotARewardModel,
    MemberRefused, CalibrationRefused, NotMeasured, SecretHostMismatch, NameTaken."""
    if isinstance(spec, RemoteJudge) and spec.secret is not None:
        secrets.require_bound(session, project_id, spec.secret, host=_host(spec))
    model_id = spec.model if isinstance(spec, LocalJudge) else None
    if model_id is not None and is_encoder((model := models.get(session, project_id, model_id)).architecture):
        raise NotAWriter(
            f"model {model.name!r} is an encoder ({model.architecture}) and answers no question: name a causal model, "
            "or a reward model that was trained from it as a judge of kind 'reward_model'",
            field="spec.model",
        )
    answer_set_id = spec.answers if isinstance(spec, ReplayJudge) else None
    if answer_set_id is not None:
        answer_sets.get(session, project_id, answer_set_id)
    checkpoint_id = spec.checkpoint if isinstance(spec, RewardModelJudge) else None
    if checkpoint_id is not None:
        _require_reward_model(session, project_id, checkpoint_id)
    members = _members(session, project_id, spec)
    _require_calibration(session, project_id, spec)
    judge = Judge(
        id=new_id(Kind.JUDGE),
        project_id=project_id,
        name=name,
        kind=spec.kind,
        family=_family(spec, members),
        spec=spec.model_dump(mode="json"),
        model_id=model_id,
        answer_set_id=answer_set_id,
        checkpoint_id=checkpoint_id,
    )
    insert_named(session, judge)
    return judge


def _require_reward_model(session: Session, project_id: str, checkpoint_id: str) -> None:
    """Raises NotFound, NotARewardModel."""
    if (checkpoint := results.checkpoint(session, project_id, checkpoint_id)) is None:
        raise NotFound.of("checkpoint", checkpoint_id)
    if checkpoint.kind is not CheckpointKind.REWARD_MODEL:
        raise NotARewardModel(
            f"checkpoint {checkpoint_id!r} is a {checkpoint.kind.value}: name one of kind 'reward_model', or run the "
            "model that was registered with it as a judge of kind 'local'",
            field="spec.checkpoint",
        )


def spec_of(judge: Judge) -> JudgeSpec:
    """As it was registered, with today's defaults for what came later."""
    return _SPEC.validate_python(judge.spec)


def _members(session: Session, project_id: str, spec: JudgeSpec) -> list[Judge]:
    """Of a panel or cascade. Raises NotFound, MemberRefused."""
    field = "steps" if isinstance(spec, CascadeJudge) else "members"
    found = []
    for place, id_ in enumerate(members_of(spec)):
        if (member := judges.get(session, project_id, id_)) is None:
            raise MemberMissing(
                f"judge {id_!r} does not exist in this project: create it first", field=f"spec.{field}.{place}"
            )
        if member.kind in COMPOSITE:
            raise MemberRefused(
                f"judge {id_!r} is a {member.kind} itself, and judges of a {spec.kind} answer for themselves: name "
                "those it is made of",
                field=f"spec.{field}.{place}",
            )
        found.append(member)
    return found


def _require_calibration(session: Session, project_id: str, spec: JudgeSpec) -> None:
    """That a panel or cascade is configured with is of the same judges. Raises CalibrationMissing, CalibrationRefused,
    NotMeasured."""
    if (id_ := calibration_of(spec)) is None:
        return
    if (row := calibrations.get(session, project_id, id_)) is None:
        raise CalibrationMissing(
            f"calibration {id_!r} does not exist in this project: make one by POST /v1/calibrations",
            field="spec.calibration",
        )
    calibration_reports.measured(row)
    measured = session.get_one(Judge, row.calibration.judge_id)
    if measured.kind != spec.kind or set(members_of(_SPEC.validate_python(measured.spec))) != set(members_of(spec)):
        raise CalibrationRefused(
            f"calibration {id_!r} is of {measured.kind} {measured.name!r} ({measured.id}), which asks other judges: "
            "name one of these judges, or make one by POST /v1/calibrations",
            field="spec.calibration",
        )


def _family(spec: JudgeSpec, members: Sequence[Judge]) -> str:
    if isinstance(spec, PanelJudge | CascadeJudge):
        return "+".join(sorted({member.family for member in members}))
    return spec.family


def get(session: Session, project_id: str, judge_id: str) -> Judge:
    """Raises NotFound."""
    if (judge := judges.get(session, project_id, judge_id)) is None:
        raise NotFound.of("judge", judge_id)
    return judge


def endpoint(session: Session, project_id: str, judge_id: str) -> tuple[RemoteJudge, Shared | None]:
    """What the workers know of the endpoint that a judge calls. Raises NotFound, NoEndpoint."""
    spec: JudgeSpec = _SPEC.validate_python(get(session, project_id, judge_id).spec)
    if not isinstance(spec, RemoteJudge):
        raise NoEndpoint(f"judge {judge_id!r} is of kind {spec.kind!r} and calls no endpoint")
    key = endpoint_key(spec.base_url, spec.model, spec.secret)
    return spec, endpoints.read(session, Place(project_id, key))


def page(session: Session, project_id: str, slice_: Slice, *, name: str | None) -> Chunk[Judge]:
    return judges.page(session, project_id, slice_, name=name)


def _host(spec: RemoteJudge) -> str:
    return urlsplit(spec.base_url).hostname or ""
