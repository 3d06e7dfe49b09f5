//! [`ChatTemplate`]: a conversation to a prompt, by the Jinja template that a model ships.
//!
//! Rendered as transformers' `apply_chat_template` does. Templates come with models, and conversations from anybody: neither
//! may keep a thread or fill the memory, so steps and the prompt's length are bounded.

use std::io::{self, Write};

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Rest};
use minijinja::{Environment, Error, ErrorKind, UndefinedBehavior, Value};

use crate::convention::CallConvention;
use crate::json;

/// Instructions of a template's run.
const STEPS_MAX: u64 = 10_000_000;
/// Bytes of a prompt that a template may make.
const PROMPT_BYTES_MAX: usize = 16 << 20;
/// Bytes of a template.
const TEMPLATE_BYTES_MAX: usize = 1 << 20;

const NAME: &str = "chat";
const WITH_TOOLS: &str = "chat with tools";

/// A model's template, ready to be used by all threads.
pub struct ChatTemplate {
    environment: Environment<'static>,
    special: Vec<(&'static str, String)>,
    convention: CallConvention,
}

/// What a template is given.
#[derive(Clone, Debug, Default)]
pub struct Conversation {
    /// The messages, in OpenAI's form.
    pub messages: Value,
    /// Tools that the model may call, in OpenAI's form.
    pub tools: Option<Value>,
    /// Whether an answer is to follow; otherwise the last message is to be continued.
    pub answer: bool,
    /// What else the template knows of, such as `enable_thinking`.
    pub more: Vec<(String, Value)>,
}

/// A conversation that a template makes no prompt of.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// The template refuses it, with these words.
    #[error("the model's chat template refuses the conversation: {0}")]
    Refused(String),
    /// The template fails.
    #[error("the model's chat template cannot be applied: {0}")]
    Failed(String),
}

impl ChatTemplate {
    /// Compiles `template`, and the one for conversations with tools if it is another. `special` are the names and texts of
    /// special tokens.
    ///
    /// # Errors
    /// What is wrong with it, and where.
    pub(crate) fn compile(
        template: String,
        with_tools: Option<String>,
        special: Vec<(&'static str, String)>,
    ) -> Result<Self, String> {
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.map_err(|error| describe(&error))?);
        environment.set_undefined_behavior(UndefinedBehavior::Lenient);
        environment.set_fuel(Some(STEPS_MAX));
        environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_filter("tojson", to_json);
        environment.add_function("raise_exception", |words: String| -> Result<Value, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, words).with_source(Raised))
        });
        environment.add_function("strftime_now", strftime_now);
        let convention = CallConvention::of(with_tools.as_ref().unwrap_or(&template));
        for (name, source) in [(NAME, Some(template)), (WITH_TOOLS, with_tools)] {
            let Some(source) = source else { continue };
            if source.len() > TEMPLATE_BYTES_MAX {
                return Err(format!("it has {} bytes; {TEMPLATE_BYTES_MAX} at most", source.len()));
            }
            environment.add_template_owned(name, source).map_err(|error| describe(&error))?;
        }
        Ok(ChatTemplate { environment, special, convention })
    }

    /// How the model writes that it calls a tool.
    pub fn convention(&self) -> CallConvention {
        self.convention
    }

    /// Makes a prompt of `conversation`.
    ///
    /// # Errors
    /// Every [`TemplateError`].
    pub fn render(&self, conversation: &Conversation) -> Result<String, TemplateError> {
        let Conversation { messages, tools, answer, more } = conversation;
        let mut context: Vec<(String, Value)> = more.clone();
        context.extend(self.special.iter().map(|(name, text)| ((*name).to_owned(), text.as_str().into())));
        context.push(("messages".to_owned(), messages.clone()));
        context.push(("add_generation_prompt".to_owned(), (*answer).into()));
        // Templates ask whether tools are none, not only whether they are defined.
        context.push(("tools".to_owned(), tools.clone().unwrap_or(Value::from(()))));
        context.push(("documents".to_owned(), Value::from(())));
        let with_tools = tools.as_ref().and_then(|_| self.environment.get_template(WITH_TOOLS).ok());
        let template =
            with_tools.map_or_else(|| self.environment.get_template(NAME), Ok).map_err(|error| failed(&error))?;
        let mut prompt = Bounded::default();
        template.render_captured_to(Value::from_pairs(context), &mut prompt).map_err(|error| match prompt.full {
            true => TemplateError::Failed(format!("it makes a prompt of more than {PROMPT_BYTES_MAX} bytes")),
            false => failed(&error),
        })?;
        String::from_utf8(prompt.bytes).map_err(|_| TemplateError::Failed("it makes no text".to_owned()))
    }
}

/// Marks what `raise_exception` was called for.
#[derive(Debug, thiserror::Error)]
#[error("raised by the template")]
struct Raised;

fn failed(error: &Error) -> TemplateError {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        let raised = std::error::Error::source(error).is_some_and(|source| source.is::<Raised>());
        if let Some(error) = error.downcast_ref::<Error>().filter(|_| raised) {
            return TemplateError::Refused(error.detail().unwrap_or_default().to_owned());
        }
        cause = std::error::Error::source(error);
    }
    TemplateError::Failed(describe(error))
}

fn describe(error: &Error) -> String {
    let cause = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
    error.line().map_or_else(|| cause.clone(), |line| format!("{cause} (line {line})"))
}

/// A prompt that is not too long.
#[derive(Default)]
struct Bounded {
    bytes: Vec<u8>,
    /// Whether there was more.
    full: bool,
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + bytes.len() > PROMPT_BYTES_MAX {
            self.full = true;
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn to_json(value: &Value, options: Kwargs) -> Result<Value, Error> {
    let indent: Option<usize> = options.get("indent")?;
    // The others change what is ASCII or sorted; models are trained on the defaults.
    let _: (Option<Value>, Option<Value>, Option<Value>) =
        (options.get("ensure_ascii")?, options.get("separators")?, options.get("sort_keys")?);
    options.assert_all_used()?;
    json::write(value, indent.map(|indent| indent.min(16))).map(Value::from)
}

/// Today, in the formats that templates ask for.
fn strftime_now(format: String, _: Rest<Value>) -> Result<String, Error> {
    const DAY_S: u64 = 86_400;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    date(now.as_secs() / DAY_S, &format)
}

/// The day so many days after the first of 1970, in `format`.
fn date(days: u64, format: &str) -> Result<String, Error> {
    const MONTHS: [&str; 12] = [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ];
    let (year, month, day) = civil(days);
    let name = MONTHS[(month - 1) as usize];
    let mut out = String::new();
    let mut characters = format.chars();
    while let Some(character) = characters.next() {
        if character != '%' {
            out.push(character);
            continue;
        }
        match characters.next() {
            Some('Y') => out.push_str(&year.to_string()),
            Some('m') => out.push_str(&format!("{month:02}")),
            Some('d') => out.push_str(&format!("{day:02}")),
            Some('B') => out.push_str(name),
            Some('b') => out.push_str(&name[..3]),
            Some('%') => out.push('%'),
            other => {
                let what = other.map_or_else(|| "%".to_owned(), |other| format!("%{other}"));
                return Err(Error::new(ErrorKind::InvalidOperation, format!("strftime_now knows no `{what}`")));
            }
        }
    }
    Ok(out)
}

/// Year, month and day (Hinnant, "chrono-Compatible Low-Level Date Algorithms"): years begin in March there, eras have 400.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let (day, month) = (of_year - (153 * shifted + 2) / 5 + 1, if shifted < 10 { shifted + 3 } else { shifted - 9 });
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests;
