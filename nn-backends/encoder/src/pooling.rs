//! From token embeddings to one embedding a text, as the folder's sentence-transformers modules say.

use headland_nn_core::{ModelFiles, NnError};
use serde::Deserialize;

use crate::files::{read_json, read_json_if_there};

/// The file that lists a model's modules.
const MODULES: &str = "modules.json";

/// What follows the transformer.
#[derive(Clone, Debug, PartialEq)]
pub struct Pooling {
    /// The ways to pool, in the order their results stand side by side; at least one, each once.
    pub modes: Vec<Mode>,
    /// Whether the whole is scaled to unit length.
    pub normalize: bool,
}

/// One way to pool; several are concatenated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The first token.
    Cls,
    /// The maximum in each dimension.
    Max,
    /// The mean.
    Mean,
    /// The sum over the root of the number of tokens.
    MeanSqrtLength,
}

#[derive(Deserialize)]
struct Module {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    path: String,
}

/// A pooling module's `config.json`: one flag a mode, or, since sentence-transformers 5, the modes by name.
#[derive(Deserialize)]
struct PoolingFile {
    #[serde(default)]
    pooling_mode: Option<OneOrMore>,
    #[serde(default)]
    pooling_mode_cls_token: bool,
    #[serde(default)]
    pooling_mode_max_tokens: bool,
    #[serde(default)]
    pooling_mode_mean_tokens: bool,
    #[serde(default)]
    pooling_mode_mean_sqrt_len_tokens: bool,
    #[serde(default)]
    pooling_mode_weightedmean_tokens: bool,
    #[serde(default)]
    pooling_mode_lasttoken: bool,
    #[serde(default = "yes")]
    include_prompt: bool,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

fn yes() -> bool {
    true
}

impl Pooling {
    /// Reads `modules.json` and the pooling module's settings. A folder without them is a bare transformer, which
    /// sentence-transformers pools by the mean.
    ///
    /// # Errors
    /// [`NnError::BadModel`] naming the module or mode that is not supported.
    pub fn read(model: &ModelFiles) -> Result<Self, NnError> {
        let Some(modules) = read_json_if_there::<Vec<Module>>(model, MODULES)? else {
            return Ok(Pooling { modes: vec![Mode::Mean], normalize: false });
        };
        let bad = |cause: String| NnError::bad_model(format!("{}: {cause}", model.describe(MODULES)));
        let kinds: Vec<&str> = modules.iter().map(|module| last_segment(&module.kind)).collect();
        if let Some(unknown) = kinds.iter().find(|kind| !["Transformer", "Pooling", "Normalize"].contains(kind)) {
            return Err(bad(format!("module `{unknown}` is not supported; Transformer, Pooling and Normalize are")));
        }
        let normalize = match kinds[..] {
            ["Transformer", "Pooling"] => false,
            ["Transformer", "Pooling", "Normalize"] => true,
            _ => {
                return Err(bad(format!(
                    "the modules are {}; Transformer, Pooling and optionally Normalize are supported, in this order",
                    kinds.join(", ")
                )));
            }
        };
        if !modules[0].path.is_empty() {
            return Err(bad(format!("the transformer is in `{}`; it must be in the folder itself", modules[0].path)));
        }
        Ok(Pooling { modes: pooling_modes(model, &modules[1].path)?, normalize })
    }

    /// Width of a sentence embedding over token embeddings of `hidden`.
    pub fn width(&self, hidden: usize) -> usize {
        self.modes.len() * hidden
    }

    /// Pools the embeddings of one text's tokens, `[tokens, hidden]` with at least one token, into `out`.
    pub fn pool(&self, tokens: &[f32], out: &mut [f32]) {
        let hidden = out.len() / self.modes.len();
        let count = (tokens.len() / hidden) as f32;
        for (mode, out) in self.modes.iter().zip(out.chunks_exact_mut(hidden)) {
            out.copy_from_slice(&tokens[..hidden]);
            let rest = tokens.chunks_exact(hidden).skip(1);
            match mode {
                Mode::Cls => {}
                Mode::Max => rest.for_each(|token| combine(out, token, f32::max)),
                Mode::Mean | Mode::MeanSqrtLength => {
                    rest.for_each(|token| combine(out, token, |sum, value| sum + value));
                    let divisor = if *mode == Mode::Mean { count } else { count.sqrt() };
                    out.iter_mut().for_each(|value| *value /= divisor);
                }
            }
        }
        if self.normalize {
            let length = out.iter().map(|value| value * value).sum::<f32>().sqrt().max(1e-12);
            out.iter_mut().for_each(|value| *value /= length);
        }
    }
}

fn combine(out: &mut [f32], token: &[f32], with: impl Fn(f32, f32) -> f32) {
    out.iter_mut().zip(token).for_each(|(out, &value)| *out = with(*out, value));
}

fn last_segment(kind: &str) -> &str {
    kind.rsplit('.').next().unwrap_or(kind)
}

/// The modes of the pooling module in `folder`, in the order sentence-transformers concatenates them.
fn pooling_modes(model: &ModelFiles, folder: &str) -> Result<Vec<Mode>, NnError> {
    let path = if folder.is_empty() { "config.json".to_owned() } else { format!("{folder}/config.json") };
    let bad = |cause: String| NnError::bad_model(format!("{}: {cause}", model.describe(&path)));
    let file: PoolingFile = read_json(model, &path)?;
    if !file.include_prompt {
        return Err(bad("`include_prompt` is false; leaving a prompt out of the pooling is not supported".to_owned()));
    }
    let names = match file.pooling_mode {
        Some(OneOrMore::One(name)) => vec![name],
        Some(OneOrMore::More(names)) => names,
        None => {
            let flags = [
                (file.pooling_mode_cls_token, "cls"),
                (file.pooling_mode_max_tokens, "max"),
                (file.pooling_mode_mean_tokens, "mean"),
                (file.pooling_mode_mean_sqrt_len_tokens, "mean_sqrt_len_tokens"),
                (file.pooling_mode_weightedmean_tokens, "weightedmean"),
                (file.pooling_mode_lasttoken, "lasttoken"),
            ];
            flags.into_iter().filter(|(set, _)| *set).map(|(_, name)| name.to_owned()).collect()
        }
    };
    let mode = |name: &String| match name.as_str() {
        "cls" => Ok(Mode::Cls),
        "max" => Ok(Mode::Max),
        "mean" => Ok(Mode::Mean),
        "mean_sqrt_len_tokens" => Ok(Mode::MeanSqrtLength),
        other => {
            Err(bad(format!("pooling mode `{other}` is not supported; cls, max, mean and mean_sqrt_len_tokens are")))
        }
    };
    let modes = names.iter().map(mode).collect::<Result<Vec<_>, _>>()?;
    // Each makes the embeddings wider: without this a small file could ask for any amount of memory at every request.
    if let Some((_, twice)) = names.iter().enumerate().find(|(index, name)| names[..*index].contains(name)) {
        return Err(bad(format!("pooling mode `{twice}` is listed twice")));
    }
    if modes.is_empty() { Ok(vec![Mode::Mean]) } else { Ok(modes) }
}
