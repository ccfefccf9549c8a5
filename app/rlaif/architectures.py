"""The kinds of models that are known here: those that write, and encoders, which score a text and write none."""

from __future__ import annotations

from dataclasses import dataclass

# model_type -> (architecture, family). A judge of another family evaluates, so relatives share a family's name.
ARCHITECTURES = {
    "cohere": ("CohereForCausalLM", "command"),
    "cohere2": ("Cohere2ForCausalLM", "command"),
    "deepseek_v2": ("DeepseekV2ForCausalLM", "deepseek"),
    "deepseek_v3": ("DeepseekV3ForCausalLM", "deepseek"),
    "exaone4": ("Exaone4ForCausalLM", "exaone"),
    "falcon": ("FalconForCausalLM", "falcon"),
    "falcon_h1": ("FalconH1ForCausalLM", "falcon"),
    "gemma": ("GemmaForCausalLM", "gemma"),
    "gemma2": ("Gemma2ForCausalLM", "gemma"),
    "gemma3_text": ("Gemma3ForCausalLM", "gemma"),
    "glm": ("GlmForCausalLM", "glm"),
    "glm4": ("Glm4ForCausalLM", "glm"),
    "glm4_moe": ("Glm4MoeForCausalLM", "glm"),
    "gpt2": ("GPT2LMHeadModel", "gpt2"),
    "gpt_neox": ("GPTNeoXForCausalLM", "gpt-neox"),
    "gpt_oss": ("GptOssForCausalLM", "gpt"),
    "granite": ("GraniteForCausalLM", "granite"),
    "granitemoe": ("GraniteMoeForCausalLM", "granite"),
    "llama": ("LlamaForCausalLM", "llama"),
    "mistral": ("MistralForCausalLM", "mistral"),
    "mixtral": ("MixtralForCausalLM", "mistral"),
    "nemotron": ("NemotronForCausalLM", "nemotron"),
    "olmo": ("OlmoForCausalLM", "olmo"),
    "olmo2": ("Olmo2ForCausalLM", "olmo"),
    "olmo3": ("Olmo3ForCausalLM", "olmo"),
    "olmoe": ("OlmoeForCausalLM", "olmo"),
    "opt": ("OPTForCausalLM", "opt"),
    "phi": ("PhiForCausalLM", "phi"),
    "phi3": ("Phi3ForCausalLM", "phi"),
    "qwen2": ("Qwen2ForCausalLM", "qwen"),
    "qwen2_moe": ("Qwen2MoeForCausalLM", "qwen"),
    "qwen3": ("Qwen3ForCausalLM", "qwen"),
    "qwen3_moe": ("Qwen3MoeForCausalLM", "qwen"),
    "smollm3": ("SmolLM3ForCausalLM", "smollm"),
    "stablelm": ("StableLmForCausalLM", "stablelm"),
    "starcoder2": ("Starcoder2ForCausalLM", "starcoder"),
}
# model_type -> (what its classes are called after, family). They start reward models (`reward_model.backbone`) alone.
ENCODERS = {
    "bert": ("Bert", "bert"),
    "deberta-v2": ("DebertaV2", "deberta"),
    "distilbert": ("DistilBert", "bert"),
    "electra": ("Electra", "electra"),
    "modernbert": ("ModernBert", "modernbert"),
    "roberta": ("Roberta", "roberta"),
    "xlm-roberta": ("XLMRoberta", "roberta"),
}
_ENCODER_HEADS = ("Model", "ForMaskedLM", "ForPreTraining", "ForSequenceClassification")
_ENCODER_CLASSES = {f"{stem}{head}" for stem, _ in ENCODERS.values() for head in _ENCODER_HEADS}
_COUNTED_FROM_PADDING = ("roberta", "xlm-roberta")


@dataclass(frozen=True, slots=True)
class Architecture:
    """What is known of a type of model: the classes that its configuration may name."""

    classes: tuple[str, ...]
    family: str
    encodes: bool


def architecture_of(model_type: str) -> Architecture | None:
    """None for a type that is unknown here."""
    if model_type in ENCODERS:
        stem, family = ENCODERS[model_type]
        return Architecture(tuple(stem + head for head in _ENCODER_HEADS), family, encodes=True)
    if model_type in ARCHITECTURES:
        name, family = ARCHITECTURES[model_type]
        return Architecture((name,), family, encodes=False)
    return None


def is_encoder(class_name: str) -> bool:
    """Whether a class reads a whole text at once and cannot write one."""
    return class_name in _ENCODER_CLASSES


def usable_positions(model_type: str, stated: int, *, padding_id: int | None) -> int:
    """How many tokens fit into the positions that a configuration states: RoBERTa's begin behind the padding's id."""
    return stated - (padding_id or 0) - 1 if model_type in _COUNTED_FROM_PADDING else stated
