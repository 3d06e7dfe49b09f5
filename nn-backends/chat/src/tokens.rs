//! [`Tokens`]: a language model's tokenizer with what belongs to it.

use std::collections::HashSet;
use std::sync::{Arc, OnceLock};

use headland_generation::Decode;
use headland_gguf::Gguf;
use headland_nn_core::{ModelFiles, NnError};
use headland_text::library::{check, guarded};
use tokenizers::Tokenizer;

use crate::convention::SHOWN;
use crate::grammar::{BadForm, Grammars, Spelling};
use crate::settings::Settings;
use crate::template::ChatTemplate;
use crate::vocabulary::Vocabulary;

const TOKENIZER: &str = "tokenizer.json";

/// Text to tokens and back, for one model. Immutable after loading, so one is shared by all threads; nothing here uses the
/// tokenizer library's own threads.
pub struct Tokens {
    tokenizer: Tokenizer,
    end_tokens: Vec<u32>,
    /// Why a broken one is: a model without a usable template still completes texts.
    template: Option<Result<Arc<ChatTemplate>, String>>,
    /// Special tokens that are told.
    shown: Vec<u32>,
    /// How the vocabulary writes tokens, but for those that were added.
    spelling: Option<Spelling>,
    added: HashSet<u32>,
    grammars: OnceLock<Result<Grammars, String>>,
    described: String,
}

impl Tokens {
    /// Opens the tokenizer of a folder: `tokenizer.json`, and what `tokenizer_config.json`, `generation_config.json`,
    /// `config.json` and `chat_template.jinja` say beside it; or, where there is no such file, what stands in a GGUF file.
    ///
    /// # Errors
    /// [`NnError::BadModel`] naming file and cause.
    pub fn open(model: &ModelFiles) -> Result<Self, NnError> {
        let gguf = model.iter().find(|(path, _)| path.ends_with(".gguf") && model.get(TOKENIZER).is_none());
        let Some((path, file)) = gguf else {
            return Self::build(model.describe(TOKENIZER), model.require(TOKENIZER)?, Settings::read(model)?);
        };
        let described = model.describe(path);
        let bad = |cause: String| NnError::bad_model(format!("{described}: {cause}"));
        let file = Gguf::parse(file).map_err(bad)?;
        let vocabulary = Vocabulary::read(&file).map_err(bad)?;
        Self::build(described.clone(), &vocabulary.tokenizer_json(), vocabulary.settings())
    }

    fn build(described: String, json: &[u8], settings: Settings) -> Result<Self, NnError> {
        let bad = |cause: String| NnError::bad_model(format!("{described}: {cause}"));
        check(json).map_err(bad)?;
        let mut tokenizer = guarded(|| Tokenizer::from_bytes(json)).map_err(bad)?;
        tokenizer.with_padding(None);
        tokenizer.with_truncation(None).map_err(|error| bad(error.to_string()))?;
        let Settings { special, mut end_tokens, template, tool_template } = settings;
        if end_tokens.is_empty() {
            let named = special.iter().find(|(name, _)| *name == "eos_token");
            end_tokens.extend(named.and_then(|(_, text)| tokenizer.token_to_id(text)));
        }
        let compile = |template| ChatTemplate::compile(template, tool_template, special).map(Arc::new);
        let shown = SHOWN.iter().filter_map(|text| tokenizer.token_to_id(text)).collect();
        let (template, grammars) = (template.map(compile), OnceLock::new());
        // One that is of no known kind has names all the same.
        let spelling = Spelling::of(&tokenizer).ok();
        let added = tokenizer.get_added_tokens_decoder().into_keys().collect();
        Ok(Tokens { tokenizer, end_tokens, template, shown, spelling, added, grammars, described })
    }

    /// Tokens that end answers.
    pub fn end_tokens(&self) -> &[u32] {
        &self.end_tokens
    }

    /// The model's chat template.
    ///
    /// # Errors
    /// [`NnError::InvalidInput`] when it ships none, or one that cannot be used.
    pub fn template(&self) -> Result<&Arc<ChatTemplate>, NnError> {
        match &self.template {
            Some(Ok(template)) => Ok(template),
            Some(Err(problem)) => Err(NnError::invalid(format!("the model's chat template cannot be used: {problem}"))),
            None => Err(NnError::invalid(
                "the model ships no chat template, so that it has no conversations; it completes texts",
            )),
        }
    }

    /// Tokenises `text`. With `special`, the tokens that begin every text of this model go before it, which a chat template
    /// has written itself.
    ///
    /// # Errors
    /// [`NnError::Runtime`] when the tokenizer fails.
    pub fn encode(&self, text: &str, special: bool) -> Result<Vec<u32>, NnError> {
        let encoded = guarded(|| self.tokenizer.encode_fast(text, special));
        let failed = |error| NnError::runtime(format!("{}: the tokenizer failed: {error}", self.described));
        encoded.map(|encoding| encoding.get_ids().to_vec()).map_err(failed)
    }

    /// What its answers can be held to. Made when it is asked for first, which takes up to a second for a large
    /// vocabulary.
    ///
    /// # Errors
    /// [`BadForm::Vocabulary`] for a tokenizer whose tokens cannot be told byte by byte.
    pub fn grammars(&self) -> Result<&Grammars, BadForm> {
        let make = || guarded(|| Ok(Grammars::of(&self.tokenizer, &self.shown)?));
        self.grammars.get_or_init(make).as_ref().map_err(|problem| BadForm::Vocabulary(problem.clone()))
    }

    /// The bytes of one token: those of all tokens of a text, one after the other, are the text's. None for what is no token.
    pub fn token(&self, id: u32) -> Vec<u8> {
        let Some(text) = self.tokenizer.id_to_token(id) else { return Vec::new() };
        match &self.spelling {
            Some(spelling) if !self.added.contains(&id) => spelling.bytes(&text),
            _ => text.into_bytes(),
        }
    }
}

impl Decode for Tokens {
    fn decode(&self, tokens: &[u32]) -> String {
        let shown = |token: &u32| self.shown.contains(token);
        if !tokens.iter().any(shown) {
            return guarded(|| self.tokenizer.decode(tokens, true)).unwrap_or_default();
        }
        let parts = tokens.split_inclusive(shown).flat_map(|part| match part.split_last() {
            Some((last, rest)) if shown(last) => {
                [self.decode(rest), String::from_utf8_lossy(&self.token(*last)).into_owned()]
            }
            _ => [self.decode(part), String::new()],
        });
        parts.collect()
    }
}
