"""Answers to the prompts of one split: MODEL PROMPTS SPLIT COMPLETIONS OUT."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

ROWS = 128


def main(model_dir: str, prompts: Path, split: str, completions: int, out: Path) -> None:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = AutoModelForCausalLM.from_pretrained(model_dir).to(device)  # type: ignore[arg-type]
    tokenizer = AutoTokenizer.from_pretrained(model_dir, padding_side="left")
    torch.manual_seed(7)
    rows = [row for line in prompts.read_text().splitlines() if (row := json.loads(line))["split"] == split]
    texts = {
        row["id"]: tokenizer.apply_chat_template(row["messages"], tokenize=False, add_generation_prompt=True)
        for row in rows
    }
    order = sorted(texts, key=lambda id_: len(texts[id_]))
    with out.open("w") as file:
        for start in range(0, len(order), ROWS // completions):
            ids = order[start : start + ROWS // completions]
            batch = tokenizer(
                [texts[id_] for id_ in ids], return_tensors="pt", padding=True, add_special_tokens=False
            ).to(device)
            output = model.generate(
                input_ids=batch["input_ids"],
                attention_mask=batch["attention_mask"],
                do_sample=True,
                temperature=1.0,
                top_p=0.95,
                top_k=0,
                max_new_tokens=80,
                num_return_sequences=completions,
            )
            answers = tokenizer.batch_decode(output[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)
            for place, id_ in enumerate(ids):
                drawn = answers[place * completions : (place + 1) * completions]
                file.write(json.dumps({"id": id_, "completions": drawn}) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]), Path(sys.argv[5]))
