"""Makes a tiny language model with seeded random weights for each family, and what transformers computes of it.

    python make_tiny.py            (needs torch and transformers; written with 2.15 and 5.23)

Each folder has the model as transformers saves it, and golden.json: for some prompts the logits after the last token, and
the tokens that follow when the likeliest is taken each time. Weights are numbers of 16 bits (but for one model), computed
with in 32. Everything is computed anew for every token, without a cache.
"""

import json
import shutil
from pathlib import Path

import torch
import transformers

HERE = Path(__file__).parent / "tiny"
VOCABULARY = 96
ANSWER = 64
SIZES = dict(
    vocab_size=VOCABULARY, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=2, max_position_embeddings=256, initializer_range=0.25, tie_word_embeddings=False,
    bos_token_id=1, eos_token_id=2, pad_token_id=0, attn_implementation="eager",
)
ROPE = {"rope_type": "default", "rope_theta": 10000.0}
LLAMA3 = {
    "rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
LONG = {
    "rope_type": "longrope", "rope_theta": 10000.0, "original_max_position_embeddings": 32,
    "short_factor": [1.0, 1.1, 1.2, 1.3], "long_factor": [1.0, 1.5, 3.0, 6.0],
}
GEMMA3_ROPE = {
    "sliding_attention": {"rope_type": "default", "rope_theta": 100.0},
    "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 10000.0},
}


def families():
    """Name, configuration, type of the stored weights, and whether they are in several files."""
    t = transformers
    bf16, f16, f32 = torch.bfloat16, torch.float16, torch.float32
    yield "llama", t.LlamaConfig(**SIZES, rope_parameters=ROPE), f32, False
    yield "llama3", t.LlamaConfig(**SIZES | dict(tie_word_embeddings=True), rope_parameters=LLAMA3), bf16, True
    yield "mistral", t.MistralConfig(**SIZES, head_dim=12, sliding_window=16, rope_parameters=ROPE), f16, False
    yield "qwen2", t.Qwen2Config(**SIZES, rope_parameters=ROPE), bf16, False
    yield "qwen3", t.Qwen3Config(**SIZES, head_dim=16, rope_parameters=ROPE), bf16, False
    yield "gemma2", t.Gemma2Config(
        **SIZES | dict(tie_word_embeddings=True), head_dim=16, sliding_window=16, query_pre_attn_scalar=24,
        attn_logit_softcapping=5.0, final_logit_softcapping=10.0, rope_parameters=ROPE,
    ), bf16, False
    yield "gemma3", t.Gemma3TextConfig(
        **SIZES | dict(tie_word_embeddings=True, num_hidden_layers=3), head_dim=16, sliding_window=16,
        query_pre_attn_scalar=24, rope_parameters=GEMMA3_ROPE,
        layer_types=["sliding_attention", "full_attention", "sliding_attention"],
    ), bf16, False
    yield "phi3", t.Phi3Config(
        **SIZES, sliding_window=48, original_max_position_embeddings=32, rope_parameters=LONG,
    ), bf16, False


def randomise(model, stored, seed):
    """Norms and biases too, which transformers makes ones and zeros."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            gemma = "gemma" in type(model).__name__.lower()
            if "norm" in name:
                parameter.copy_((0.0 if gemma else 1.0) + 0.2 * noise)
            elif gemma and "embed_tokens" in name:
                # Multiplied by the root of the width, and small beside what the layers add: or a token names itself.
                parameter.copy_(0.05 * noise)
            elif name.endswith("bias"):
                parameter.copy_(0.5 * noise)
            else:
                parameter.copy_(SIZES["initializer_range"] * noise)
            parameter.copy_(parameter.to(stored).float())


class TooClose(Exception):
    """Two tokens are so nearly equally likely that rounding may choose between them: another seed is tried."""


def answers(model, lengths, count, context):
    """Prompts of these lengths, the logits after each, and the `count` tokens that follow."""
    generator = torch.Generator().manual_seed(7)
    for length in lengths:
        prompt = torch.randint(3, VOCABULARY, (length,), generator=generator).tolist()
        tokens, first = list(prompt), None
        closest = float("inf")
        with torch.no_grad():
            for _ in range(count):
                logits = model(input_ids=torch.tensor([tokens]), use_cache=False).logits[0, -1]
                first = logits.tolist() if first is None else first
                top = torch.topk(logits, 2).values
                closest = min(closest, (top[0] - top[1]).item())
                tokens.append(int(torch.argmax(logits)))
        print(f"  prompt of {length}: the closest choice is {closest:.5f} apart, {len(set(tokens[length:]))} different tokens")
        if closest < 1e-3:
            raise TooClose
        logits = [round(x, 5) for x in first]
        yield dict(prompt=prompt, logits=logits, tokens=tokens[length:], context=context)


def main():
    torch.set_num_threads(1)
    shutil.rmtree(HERE, ignore_errors=True)
    for name, config, stored, several in families():
        for seed in range(100):
            print(name, "from seed", seed)
            model = transformers.AutoModelForCausalLM.from_config(config).eval()
            randomise(model, stored, seed)
            try:
                golden = list(goldens(name, model))
                break
            except TooClose:
                pass
        folder = HERE / name
        model.to(stored).save_pretrained(folder, max_shard_size="20KB" if several else "5GB")
        (folder / "generation_config.json").unlink(missing_ok=True)
        (folder / "golden.json").write_text(json.dumps(golden) + "\n")


def goldens(name, model):
    # Positions beyond 32 are what Phi-3's long factors are for; up to there it has the short ones.
    yield from answers(model, [40, 70, 49] if name == "phi3" else [1, 40, 70], ANSWER, None)
    if name == "phi3":
        yield from answers(model, [5], 24, 32)


main()
