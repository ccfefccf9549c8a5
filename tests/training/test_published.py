"""What is published loads in plain transformers and plain peft, chat template included, and computes the same there."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from app.rlaif.training import LoraConfig
from tests.training.tiny import Recorder, build_encoder, make_pairs, score
from workers.training.checkpoint import load_policy
from workers.training.completion_logprobs import CompletionScorer
from workers.training.contracts import Conversation
from workers.training.dpo import DPOConfig, train_dpo
from workers.training.pairs import encode_answer
from workers.training.reward_model import RewardModelConfig, RewardModelData, train_reward_model
from workers.training.shared_prompts import PromptGroup

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")  # peft on transformers 5

PAIRS = make_pairs(32)
ITEMS = [Conversation(pair.prompt, pair.first) for pair in PAIRS[:4]]

PLAIN = """
import json, sys, warnings
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

assert not [name for name in sys.modules if name.split(".")[0] in ("app", "workers")]
warnings.simplefilter("ignore")
published, base, kind, items = sys.argv[1], sys.argv[2], sys.argv[3], json.loads(sys.argv[4])
tokenizer = AutoTokenizer.from_pretrained(published)


def encoded(prompt, completion):
    asked = tokenizer.apply_chat_template(prompt, add_generation_prompt=True, tokenize=False)
    whole = tokenizer.apply_chat_template([*prompt, {"role": "assistant", "content": completion}], tokenize=False)
    start = len(tokenizer(asked, add_special_tokens=False)["input_ids"])
    if kind == "encoder":
        return torch.tensor([tokenizer(whole)["input_ids"]]), start
    return torch.tensor([tokenizer(whole.rstrip("\\n"), add_special_tokens=False)["input_ids"]]), start


@torch.no_grad()
def value(model, prompt, completion):
    ids, start = encoded(prompt, completion)
    logits = model(input_ids=ids).logits
    if kind != "policy":
        return float(logits[0, 0])
    logprobs = torch.log_softmax(logits[0, :-1], dim=-1).gather(1, ids[0, 1:, None])[:, 0]
    return float(logprobs[start - 1:].sum())


auto = AutoModelForCausalLM if kind == "policy" else AutoModelForSequenceClassification
settings = {} if kind == "policy" else {"num_labels": 1}
merged = auto.from_pretrained(published).eval()
plain = auto.from_pretrained(base, **settings)
if kind == "causal":
    plain.config.pad_token_id = merged.config.pad_token_id
adapted = PeftModel.from_pretrained(plain, f"{published}/adapter").eval()
print(json.dumps([[value(model, *item) for item in items] for model in (merged, adapted)]))
"""


def plainly(published: Path, base: Path, kind: str) -> tuple[list[float], list[float]]:
    """The merged model's values and the adapted base's, by a process that has nothing of ours."""
    items = json.dumps([[list(item.prompt), item.completion] for item in ITEMS])
    done = subprocess.run(
        [sys.executable, "-P", "-c", PLAIN, str(published), str(base), kind, items],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=published,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    merged, adapted = json.loads(done.stdout.splitlines()[-1])
    return merged, adapted


def test_a_policy(model_dir: Path, tmp_path: Path) -> None:
    config = DPOConfig(
        model_dir=model_dir, learning_rate=1e-2, epochs=1, batch_size=8, max_length=128, lora=LoraConfig(rank=4)
    )
    train_dpo(config, PAIRS, tmp_path, Recorder())
    policy = load_policy(tmp_path)
    groups = [
        PromptGroup(prompt, (completion,))
        for prompt, completion in (
            encode_answer(policy.tokenizer, policy.stop_ids, item.prompt, item.completion) for item in ITEMS
        )
    ]
    with torch.no_grad():
        ours = CompletionScorer(policy.model).sums(groups).tolist()
    merged, adapted = plainly(tmp_path, model_dir, "policy")
    assert merged == pytest.approx(ours, abs=1e-3)
    assert adapted == pytest.approx(ours, abs=1e-3)


@pytest.mark.parametrize("kind", ["causal", "encoder"])
def test_a_reward_model(kind: str, model_dir: Path, tmp_path: Path) -> None:
    start = model_dir if kind == "causal" else build_encoder(tmp_path / "start")
    config = RewardModelConfig(
        model_dir=start,
        template_dir=model_dir,
        learning_rate=3e-3,
        epochs=1,
        batch_size=8,
        max_length=128,
        lora=LoraConfig(rank=4),
    )
    train_reward_model(config, RewardModelData(PAIRS, []), tmp_path / "out", Recorder())
    ours = score(tmp_path / "out", ITEMS, batch_size=4, progress=Recorder())
    merged, adapted = plainly(tmp_path / "out", start, kind)
    assert merged == pytest.approx(ours, abs=1e-3)
    assert adapted == pytest.approx(ours, abs=1e-3)
