//! Where byte-level tokenizers split texts before they join anything, by the names that GGUF files have for it.
//!
//! The expressions are those of the families' own `tokenizer.json`; llama.cpp has the names.

use serde_json::{Value, json};

/// A way to split.
pub(super) struct Split {
    names: &'static [&'static str],
    /// One after the other: what an expression finds, and what lies between, is split by the next.
    expressions: &'static [&'static str],
    /// Whether a part that is a token is taken as it is, whatever would be joined within.
    pub whole_words: bool,
    /// Whether texts begin with the token for that where the file does not say.
    pub begins: bool,
}

const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)";
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const GPT4O: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

static KNOWN: [Split; 8] = [
    // What llama.cpp does with files that do not say, or say so.
    Split {
        names: &["default"],
        expressions: &[r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", "[0-9][0-9][0-9]"],
        whole_words: false,
        begins: false,
    },
    Split { names: &["gpt-2", "phi-2", "mpt", "olmo"], expressions: &[GPT2], whole_words: false, begins: false },
    Split {
        names: &["llama-bpe", "llama3", "llama-v3", "falcon3", "pixtral"],
        expressions: &[LLAMA3],
        whole_words: true,
        begins: true,
    },
    Split { names: &["dbrx", "smaug-bpe"], expressions: &[LLAMA3], whole_words: false, begins: false },
    Split {
        names: &["qwen2", "deepseek-r1-qwen", "megrez", "stablelm2"],
        expressions: &[QWEN2],
        whole_words: false,
        begins: false,
    },
    Split {
        names: &["smollm", "starcoder", "refact", "command-r"],
        expressions: &[r"\p{N}", GPT2],
        whole_words: false,
        begins: false,
    },
    Split { names: &["tekken"], expressions: &[TEKKEN], whole_words: true, begins: true },
    Split { names: &["gpt-4o"], expressions: &[GPT4O], whole_words: false, begins: false },
];

/// The way to split that has this name; files of old have none.
///
/// # Errors
/// The names that are known.
pub(super) fn named(name: Option<&str>) -> Result<&'static Split, String> {
    let name = name.unwrap_or("default");
    KNOWN.iter().find(|split| split.names.contains(&name)).ok_or_else(|| {
        let known: Vec<&str> = KNOWN.iter().flat_map(|split| split.names.iter().copied()).collect();
        format!(
            "texts are split as `{name}` (`tokenizer.ggml.pre`), which is not known here; known are {}",
            known.join(", ")
        )
    })
}

impl Split {
    /// In the format of the `tokenizers` library.
    pub fn pre_tokenizer(&self) -> Value {
        let split = |expression: &&str| json!({"type": "Split", "pattern": {"Regex": expression}, "behavior": "Isolated", "invert": false});
        let bytes = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false});
        let steps: Vec<Value> = self.expressions.iter().map(split).chain([bytes]).collect();
        json!({"type": "Sequence", "pretokenizers": steps})
    }
}
