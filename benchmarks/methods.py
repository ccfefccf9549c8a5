"""Every policy method on the examples, through the API of a whole stack: `make bench-methods`.

One run samples, judges, believes, trains the reward model and DPO; each other method forks from it at the policy, so
that all of them start from the same model, reward model and preferences and meet the same held-out prompts.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from cli.address import free_port
from cli.client.connection import Connection
from cli.demo import submit
from cli.stack.home import Home
from cli.stack.stack import Stack, StackOptions

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples"
POLL_S = 1.0
console = Console(soft_wrap=True, highlight=False)


@dataclass(frozen=True)
class Outcome:
    """What one run's report says of its policy, and how long its policy stage took."""

    name: str
    report: dict[str, Any]
    seconds: float

    @property
    def low(self) -> float:
        return float(self.report["headline"]["win_rate"]["low"])

    def row(self) -> tuple[str, ...]:
        rate, reward, length = self.report["headline"]["win_rate"], self.report["reward"], self.report["length"]
        return (
            self.name,
            f"{rate['value']:.3f} ({rate['low']:.3f} to {rate['high']:.3f})",
            f"{reward['win_rate']:.3f}",
            f"{length['base_mean_tokens']:.1f} to {length['policy_mean_tokens']:.1f}",
            f"{self.seconds:.0f}",
            ", ".join(caveat["code"] for caveat in self.report["caveats"]) or "none",
        )


def main() -> None:
    """Print one row a method; exit 1 where a policy does not beat the base model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = sorted(path.stem for path in (EXAMPLES / "policies").glob("*.json"))
    parser.add_argument("--only", nargs="*", choices=names, default=names, help="Methods beside dpo")
    parser.add_argument("--pages", type=Path, help="Directory for each run's report page")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="rlaif-methods-", ignore_cleanup_errors=True) as directory:
        options = StackOptions(port=free_port("127.0.0.1"), models_dir=EXAMPLES, durable=False)
        with Stack(Home.at(Path(directory)), options) as stack:
            stack.start_all()
            connection = Connection(stack.address, stack.api_key())
            first = submit(connection, EXAMPLES)["id"]
            outcomes = [finished(connection, "dpo", first, arguments.pages)]
            for name in arguments.only:
                outcomes.append(finished(connection, name, fork(connection, first, name), arguments.pages))
    show(outcomes)
    raise SystemExit(any(outcome.low <= 0.5 for outcome in outcomes))


def fork(connection: Connection, run_id: str, name: str) -> str:
    """The id of a run that goes on from the first at its policy."""
    policy = json.loads((EXAMPLES / "policies" / f"{name}.json").read_text())
    sample = json.loads((EXAMPLES / "recipe.json").read_text())["sample"]  # what policy.max_length is held against
    recipe = {"sample": sample, "policy": policy}
    body = {"name": name, "fork": {"run": run_id, "from_stage": "policy"}, "recipe": recipe}
    id_: str = connection.post("/v1/runs", body, key=name)["id"]
    return id_


def finished(connection: Connection, name: str, run_id: str, pages: Path | None) -> Outcome:
    """Wait for the run's end; raises RuntimeError when it is not success."""
    while (run := connection.get(f"/v1/runs/{run_id}"))["status"] not in ("succeeded", "failed", "cancelled", "paused"):
        time.sleep(POLL_S)
    if run["status"] != "succeeded":
        raise RuntimeError(f"{name}: {run['status']}: {run['error'] or run['pause_reason']}")
    if pages is not None:
        pages.mkdir(parents=True, exist_ok=True)
        page = connection.request("GET", f"/v1/runs/{run_id}/report", params={"format": "html"}).text
        (pages / f"{name}.html").write_text(page, encoding="utf-8")
    seconds = next(stage["usage"]["compute_seconds"] for stage in run["stages"] if stage["kind"] == "policy")
    outcome = Outcome(name, connection.get(f"/v1/runs/{run_id}/report"), seconds)
    console.print(": ".join(outcome.row()[:2]))
    return outcome


def show(outcomes: list[Outcome]) -> None:
    """One table, the reward model's opinion beside the held-out judge's."""
    columns = ("method", "win rate (95 %)", "by reward model", "tokens", "policy stage, s", "caveats")
    table = Table(*columns, title="Policies against the base model on held-out prompts")
    for outcome in outcomes:
        table.add_row(*outcome.row())
    console.print(table)


if __name__ == "__main__":
    main()
