//! [`Vocabulary`]: the tokenizer that stands in a GGUF file's metadata, as the `tokenizer.json` that does the same.
//!
//! Read as llama.cpp reads it, so that a file means the same tokens here and there; where the file leaves open how texts are
//! taken apart, as it was taken apart for training. `merges` says in what order pieces are joined, `split` what is never
//! joined. Keys are those of ggml's docs/gguf.md.

mod merges;
mod metadata;
mod split;

use std::borrow::Cow;
use std::collections::HashMap;

use headland_gguf::Gguf;
use serde_json::{Value, json};

use crate::settings::Settings;
use metadata::Metadata;

/// Bytes of a token. The longest that models have are runs of some hundred spaces.
const TOKEN_BYTES_MAX: usize = 1 << 10;
/// Bytes of all tokens: vocabularies of 256 thousand have some three million.
const VOCABULARY_BYTES_MAX: usize = 16 << 20;
/// What stands for a space in the pieces of SentencePiece.
const SPACE: &str = "\u{2581}";

/// Texts of tokens that end answers, in the models that call them so: files often name only one of several.
const ENDS: [&str; 14] = [
    "</s>",
    "<eos>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<end_of_turn>",
    "<end_of_utterance>",
    "<EOT>",
    "<|fim_pad|>",
    "<|repo_name|>",
    "<|file_sep|>",
];

/// What a file says of its tokens.
pub(crate) struct Vocabulary<'a> {
    model: Model<'a>,
    tokens: Vec<Cow<'a, str>>,
    ids: HashMap<Cow<'a, str>, u32>,
    kinds: Vec<Kind>,
    begin: Option<u32>,
    end: Option<u32>,
    unknown: Option<u32>,
    padding: Option<u32>,
    end_tokens: Vec<u32>,
    adds_begin: bool,
    adds_end: bool,
    /// Whether special tokens take the spaces after them.
    strips: bool,
    template: Option<String>,
    tool_template: Option<String>,
}

/// How texts become tokens.
enum Model<'a> {
    /// SentencePiece's byte-pair encoding: of all pieces that two neighbours make, that with the best score comes first.
    Scores { scores: Vec<f64>, adds_space: bool },
    /// GPT-2's, over bytes, within the parts that a text is split into.
    Merges { merges: Vec<(&'a str, &'a str)>, split: &'static split::Split },
}

/// What a token is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A piece of text, or a byte.
    Text,
    /// Never of texts, and no text.
    Control,
    /// Found in texts before anything else, and text.
    UserDefined,
}

impl<'a> Vocabulary<'a> {
    /// Reads the metadata of `file`.
    ///
    /// # Errors
    /// What is missing, contradicts itself, or is not known here.
    pub fn read(file: &'a Gguf) -> Result<Self, String> {
        let metadata = Metadata(file);
        let name = metadata.text("model")?.ok_or(
            "it has no tokenizer (`tokenizer.ggml.model` is missing); put the model's `tokenizer.json` beside it",
        )?;
        let tokens = tokens(metadata.texts("tokens")?)?;
        let mut ids = HashMap::with_capacity(tokens.len());
        for (id, token) in (0..).zip(&tokens) {
            if let Some(other) = ids.insert(token.clone(), id) {
                return Err(format!("its tokens {other} and {id} are both `{}`", token.escape_debug()));
            }
        }
        let model = match name {
            "llama" => Model::Scores {
                scores: metadata.scores(tokens.len())?,
                adds_space: metadata.flag("add_space_prefix")?.unwrap_or(true),
            },
            "gpt2" => Model::Merges { merges: metadata.merges(&ids)?, split: split::named(metadata.text("pre")?)? },
            "no_vocab" | "none" => {
                return Err("it has no tokenizer; put the model's `tokenizer.json` beside it".to_owned());
            }
            other => return Err(format!("its tokenizer is `{other}`; those that are read: llama, gpt2")),
        };
        let kinds = metadata.kinds(&tokens)?;
        // SentencePiece's numbers where a file does not say.
        let default =
            |id: u32| Some(id).filter(|id| matches!(model, Model::Scores { .. }) && (*id as usize) < tokens.len());
        let id = |key, or: Option<u32>| Ok::<_, String>(metadata.id(key, tokens.len())?.or(or));
        let (begin, end) = (id("bos_token_id", default(1))?, id("eos_token_id", default(2))?);
        let (unknown, padding) = (id("unknown_token_id", default(0))?, id("padding_token_id", None)?);
        let mut end_tokens: Vec<u32> = ENDS.iter().filter_map(|end| ids.get(*end).copied()).collect();
        end_tokens.extend([end, id("eot_token_id", None)?, id("eom_token_id", None)?].into_iter().flatten());
        end_tokens.sort_unstable();
        end_tokens.dedup();
        let begins = match &model {
            Model::Scores { .. } => true,
            Model::Merges { split, .. } => split.begins,
        };
        Ok(Vocabulary {
            adds_begin: metadata.flag("add_bos_token")?.unwrap_or(begins),
            adds_end: metadata.flag("add_eos_token")?.unwrap_or(false),
            strips: metadata.of_phi3(),
            template: metadata.template("")?,
            tool_template: metadata.template(".tool_use")?,
            model,
            tokens,
            ids,
            kinds,
            begin,
            end,
            unknown,
            padding,
            end_tokens,
        })
    }

    /// What stands beside a tokenizer in other models' folders.
    pub fn settings(&self) -> Settings {
        let named = [
            ("bos_token", self.begin),
            ("eos_token", self.end),
            ("pad_token", self.padding),
            ("unk_token", self.unknown),
        ];
        let text = |(name, id): (&'static str, Option<u32>)| Some((name, self.text(id)?.to_owned()));
        Settings {
            special: named.into_iter().filter_map(text).collect(),
            end_tokens: self.end_tokens.clone(),
            template: self.template.clone(),
            tool_template: self.tool_template.clone(),
        }
    }

    /// The tokenizer, in the format of the `tokenizers` library.
    pub fn tokenizer_json(&self) -> Vec<u8> {
        let (model, normalizer, pre_tokenizer, decoder) = match &self.model {
            Model::Scores { scores, adds_space } => {
                let merges = merges::of_scores(&self.tokens, &self.ids, scores);
                let (normalizer, decoder) = spaces(*adds_space);
                (self.byte_pairs(&merges, true, false), normalizer, Value::Null, decoder)
            }
            Model::Merges { merges, split } => {
                let decoder = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false});
                (self.byte_pairs(merges, false, split.whole_words), Value::Null, split.pre_tokenizer(), decoder)
            }
        };
        let file = json!({
            "version": "1.0",
            "added_tokens": self.added_tokens(),
            "normalizer": normalizer,
            "pre_tokenizer": pre_tokenizer,
            "post_processor": self.post_processor(),
            "decoder": decoder,
            "model": model,
        });
        file.to_string().into_bytes()
    }

    fn byte_pairs(&self, merges: &[(&str, &str)], of_scores: bool, whole_words: bool) -> Value {
        let vocabulary: serde_json::Map<String, Value> =
            self.ids.iter().map(|(token, id)| (token.to_string(), (*id).into())).collect();
        json!({
            "type": "BPE",
            "unk_token": self.text(self.unknown).filter(|_| of_scores),
            "fuse_unk": of_scores,
            "byte_fallback": of_scores,
            "ignore_merges": whole_words,
            "vocab": vocabulary,
            "merges": merges,
        })
    }

    fn added_tokens(&self) -> Vec<Value> {
        let ends = |id: u32| self.end_tokens.binary_search(&id).is_ok();
        let token = |((id, text), kind): ((u32, &Cow<str>), &Kind)| {
            let special = *kind == Kind::Control || ends(id) || self.unknown == Some(id);
            // Phi-3's tokenizer tells these from the tokens of conversations.
            let strips = self.strips && !matches!(&**text, "<s>" | "<unk>" | "<|endoftext|>");
            (special || *kind == Kind::UserDefined).then(|| {
                json!({
                    "id": id, "content": text, "single_word": false, "lstrip": false, "rstrip": strips, "normalized": false,
                    "special": special,
                })
            })
        };
        (0..).zip(&self.tokens).zip(&self.kinds).filter_map(token).collect()
    }

    /// Puts what begins and ends every text around it.
    fn post_processor(&self) -> Value {
        let begin = self.begin.filter(|_| self.adds_begin).and_then(|id| Some((id, self.text(Some(id))?)));
        let end = self.end.filter(|_| self.adds_end).and_then(|id| Some((id, self.text(Some(id))?)));
        if begin.is_none() && end.is_none() {
            return Value::Null;
        }
        let special = |(_, text): &(u32, &str)| json!({"SpecialToken": {"id": text, "type_id": 0}});
        let around = |names: &[&str]| {
            let sequences = names.iter().map(|name| json!({"Sequence": {"id": name, "type_id": 0}}));
            begin.iter().map(special).chain(sequences).chain(end.iter().map(special)).collect::<Vec<Value>>()
        };
        let described = |(id, text): (u32, &str)| (text.to_owned(), json!({"id": text, "ids": [id], "tokens": [text]}));
        let tokens: serde_json::Map<String, Value> = begin.into_iter().chain(end).map(described).collect();
        json!({
            "type": "TemplateProcessing", "single": around(&["A"]), "pair": around(&["A", "B"]), "special_tokens": tokens,
        })
    }

    fn text(&self, id: Option<u32>) -> Option<&str> {
        self.tokens.get(id? as usize).map(|token| &**token)
    }
}

/// The tokens, each with a text of its own.
fn tokens<'a>(texts: Vec<&'a str>) -> Result<Vec<Cow<'a, str>>, String> {
    if let Some((id, long)) = texts.iter().enumerate().find(|(_, text)| text.len() > TOKEN_BYTES_MAX) {
        return Err(format!("its token {id} has {} bytes; {TOKEN_BYTES_MAX} at most", long.len()));
    }
    let bytes: usize = texts.iter().map(|text| text.len()).sum();
    if bytes > VOCABULARY_BYTES_MAX {
        return Err(format!("its tokens have {bytes} bytes; {VOCABULARY_BYTES_MAX} at most"));
    }
    let named = |(id, text): (usize, &'a str)| match text {
        "" => Cow::Owned(format!("[EMPTY_{id}]")),
        text => Cow::Borrowed(text),
    };
    Ok(texts.into_iter().enumerate().map(named).collect())
}

/// Spaces to what stands for them and back: with one before every part of a text where `adds_space`.
fn spaces(adds_space: bool) -> (Value, Value) {
    let replace = |from: &str, to: &str| json!({"type": "Replace", "pattern": {"String": from}, "content": to});
    let mut normalizers = vec![replace(" ", SPACE)];
    let mut decoders = vec![replace(SPACE, " "), json!({"type": "ByteFallback"}), json!({"type": "Fuse"})];
    if adds_space {
        normalizers.insert(0, json!({"type": "Prepend", "prepend": SPACE}));
        decoders.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
    }
    (json!({"type": "Sequence", "normalizers": normalizers}), json!({"type": "Sequence", "decoders": decoders}))
}
