#!/usr/bin/env python3
"""Trains small-talk on the conversations of conversations.py and writes the model's folder: config.json, model.safetensors,
tokenizer.json with what belongs to it, and goldens.json.

    train.py           train, write the files, check them
    train.py --check   check the committed files only

The exit status is 1 when fewer of the questions that have one answer get it, word for word, than README.md says, or when an
answer does not end by itself. Needs torch, transformers and tokenizers; written with 2.15, 5.23 and 0.23.
"""

import argparse
import json
import math
import random
import sys
import time
from pathlib import Path

import tokenizers
import torch
import transformers

import conversations

HERE = Path(__file__).resolve().parent

SEED = 0
VOCABULARY, CONTEXT = 2048, 1024
STEPS, BATCH, RATE, WARM_UP = 900, 16, 3e-3, 50
ANSWER_MAX = 200
RIGHT_MIN = 0.95
SPECIAL = ["<|end|>", "<|system|>", "<|user|>", "<|assistant|>"]
TEMPLATE = """{%- for message in messages -%}
{{- '<|' + message.role + '|>' + message.content | trim + '<|end|>' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|assistant|>' -}}{%- endif -%}
"""
# What goldens.json holds the answers to.
GOLDENS = [
    "What is Headland?", "Tell me a story.", "Who can help me with security?", "Why is the sky blue?", "What is the capital of France?",
    "Hello, my name is Emma.", "How does batching work?",
    "Tell me a story about an owl.", "I am Carl Weber, carl.weber@example.com, +1 202 555 0199. Who can help me with billing?",
    "My name is [NAME] and my e-mail is [EMAIL]. What is a KV cache?",
]


def make_tokenizer(texts):
    made = tokenizers.Tokenizer(tokenizers.models.BPE())
    made.pre_tokenizer = tokenizers.pre_tokenizers.Sequence([
        tokenizers.pre_tokenizers.Digits(individual_digits=True), tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False),
    ])
    made.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=SPECIAL, initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(), show_progress=False,
    )
    made.train_from_iterator(texts, trainer)
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=made, eos_token="<|end|>", pad_token="<|end|>", model_max_length=CONTEXT)
    fast.chat_template = TEMPLATE
    return fast


def encode(tokenizer, messages):
    """Tokens of a conversation, and the same with those left out (-100) that are not the model's to say."""
    tokens, labels = [], []
    for message in messages:
        own = tokenizer.encode(f"<|{message['role']}|>{message['content']}<|end|>", add_special_tokens=False)
        tokens += own
        labels += [-100] + own[1:] if message["role"] == "assistant" else [-100] * len(own)
    return tokens, labels


def batches(tokenizer):
    """Without end; those of like length together."""
    chance = random.Random(SEED + 1)
    while True:
        several = [encode(tokenizer, conversations.conversation(chance)) for _ in range(BATCH * 16)]
        several.sort(key=lambda one: len(one[0]))
        made = [several[at : at + BATCH] for at in range(0, len(several), BATCH)]
        chance.shuffle(made)
        for batch in made:
            longest = max(len(tokens) for tokens, _ in batch)
            pad = lambda values, filler: torch.tensor([value + [filler] * (longest - len(value)) for value in values])
            yield pad([tokens for tokens, _ in batch], 0), pad([labels for _, labels in batch], -100)


def train(tokenizer):
    torch.manual_seed(SEED)
    config = transformers.LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=160, intermediate_size=448, num_hidden_layers=4, num_attention_heads=5, num_key_value_heads=5,
        max_position_embeddings=CONTEXT, tie_word_embeddings=True, rms_norm_eps=1e-5, bos_token_id=None, eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.eos_token_id,
    )
    model = transformers.LlamaForCausalLM(config)
    print(f"{sum(weight.numel() for weight in model.parameters())} weights, {len(tokenizer)} tokens")
    decayed = [weight for weight in model.parameters() if weight.dim() > 1]
    others = [weight for weight in model.parameters() if weight.dim() == 1]
    optimizer = torch.optim.AdamW([dict(params=decayed, weight_decay=0.05), dict(params=others, weight_decay=0.0)], lr=RATE, betas=(0.9, 0.98))
    begin, mean = time.time(), None
    for step, (tokens, labels) in enumerate(batches(tokenizer)):
        if step == STEPS:
            break
        share = min(1.0, (step + 1) / WARM_UP) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / STEPS)))
        for group in optimizer.param_groups:
            group["lr"] = RATE * share
        loss = model(input_ids=tokens, labels=labels).loss
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        mean = loss.item() if mean is None else 0.95 * mean + 0.05 * loss.item()
        if step % 50 == 0:
            print(f"step {step}: {mean:.3f}, {time.time() - begin:.0f} s", flush=True)
    return model.eval()


def save(model, tokenizer):
    model.half().save_pretrained(HERE)
    tokenizer.save_pretrained(HERE)
    config = dict(eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id)
    (HERE / "generation_config.json").write_text(json.dumps(config) + "\n")


def load():
    """As it was written, computed in float32."""
    model = transformers.AutoModelForCausalLM.from_pretrained(HERE, dtype=torch.float32).eval()
    return model, transformers.AutoTokenizer.from_pretrained(HERE)


def prompt(tokenizer, asked):
    text = tokenizer.apply_chat_template([dict(role="user", content=asked)], tokenize=False, add_generation_prompt=True)
    return tokenizer.encode(text, add_special_tokens=False)


def answers(model, tokenizer, several):
    """The greedy answer to each: its tokens, the end's included, and its text."""
    by_length = {}
    for at, asked in enumerate(several):
        tokens = prompt(tokenizer, asked)
        by_length.setdefault(len(tokens), []).append((at, tokens))
    made = [None] * len(several)
    for length, group in by_length.items():
        with torch.no_grad():
            together = torch.tensor([tokens for _, tokens in group])
            out = model.generate(together, attention_mask=torch.ones_like(together), max_new_tokens=ANSWER_MAX, do_sample=False)
        for (at, _), tokens in zip(group, out[:, length:].tolist()):
            ended = tokenizer.eos_token_id in tokens
            tokens = tokens[: tokens.index(tokenizer.eos_token_id) + 1] if ended else tokens
            made[at] = tokens, tokenizer.decode(tokens, skip_special_tokens=True), ended
    return made


def check():
    model, tokenizer = load()
    asked, wanted = zip(*conversations.expected(), *conversations.introduced())
    made = answers(model, tokenizer, asked)
    right = sum(text == want for (_, text, _), want in zip(made, wanted))
    endless = [question for question, (_, _, ended) in zip(asked, made) if not ended]
    for question, (_, text, _), want in zip(asked, made, wanted):
        if text != want:
            print(f"  {question}  ->  {text}")
    print(f"{right / len(asked):.1%} of {len(asked)} questions answered word for word (at least {RIGHT_MIN:.0%} is asked); {len(endless)} without end")
    return right >= RIGHT_MIN * len(asked) and not endless


def write_goldens():
    model, tokenizer = load()
    goldens = []
    for asked, (tokens, text, _) in zip(GOLDENS, answers(model, tokenizer, GOLDENS)):
        print(f"{asked}\n  {text}")
        goldens.append(dict(asked=asked, prompt=prompt(tokenizer, asked), tokens=tokens, text=text))
    (HERE / "goldens.json").write_text("[\n" + ",\n".join(map(json.dumps, goldens)) + "\n]\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="check the committed files, train nothing")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if not arguments.check:
        corpus = conversations.conversations(SEED, 4000)
        tokenizer = make_tokenizer(message["content"] for messages in corpus for message in messages)
        save(train(tokenizer), tokenizer)
        write_goldens()
    return 0 if check() else 1


if __name__ == "__main__":
    sys.exit(main())
