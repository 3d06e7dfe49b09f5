//! [`Beginning`]: whether a call begins, up to its arguments.

use headland_chat::{ARGUMENTS_KEYS, CallConvention, FUNCTION_BEGIN, Head, NAMED_ARGUMENTS, NAMED_ID, Tool};

use super::CallReading;

/// Bytes between what begins a call and its arguments, where these are not those of an object.
const NAME_BYTES_MAX: usize = 200;

/// What is in the place of a call's beginning.
pub(super) enum Beginning {
    Unfinished,
    None,
    /// A call of this tool, up to its arguments after so many bytes.
    Call {
        tool: usize,
        bytes: usize,
    },
    /// One without any.
    Bare {
        tool: usize,
        bytes: usize,
    },
}

impl Beginning {
    /// What `text` begins with.
    pub fn of(text: &str, reading: &CallReading) -> Self {
        let tools = &reading.tools;
        match reading.convention {
            CallConvention::Tagged | CallConvention::Plain => object(text, tools),
            CallConvention::Listed => {
                let rest = text.trim_start();
                match rest.strip_prefix(['[', ',']) {
                    _ if rest.is_empty() => Beginning::Unfinished,
                    None => Beginning::None,
                    Some(inner) => match object(inner, tools) {
                        Beginning::Call { tool, bytes } => {
                            Beginning::Call { tool, bytes: text.len() - inner.len() + bytes }
                        }
                        Beginning::Bare { tool, bytes } => {
                            Beginning::Bare { tool, bytes: text.len() - inner.len() + bytes }
                        }
                        other => other,
                    },
                }
            }
            CallConvention::Named => named(text, tools),
            CallConvention::Functions => function(text, tools),
        }
    }
}

/// An object that is a call.
fn object(text: &str, tools: &[Tool]) -> Beginning {
    let (tool, bytes) = match Head::read(text.as_bytes(), tools) {
        Head::Unfinished => return Beginning::Unfinished,
        Head::Other => return Beginning::None,
        Head::Of { tool, bytes } => (tool, bytes),
    };
    let rest = text[bytes..].trim_start();
    // Who takes nothing may be called without.
    if let Some(after) = rest.strip_prefix('}').filter(|_| tools[tool].parameters.is_none()) {
        return Beginning::Bare { tool, bytes: text.len() - after.len() };
    }
    let keys = ARGUMENTS_KEYS.map(|key| [",".to_owned(), format!("\"{key}\""), ":".to_owned(), "{".to_owned()]);
    let mut beginning = Beginning::None;
    for parts in &keys {
        match after(rest, parts) {
            Ok(object) => return Beginning::Call { tool, bytes: text.len() - object.len() - 1 },
            Err(true) => beginning = Beginning::Unfinished,
            Err(false) => {}
        }
    }
    beginning
}

/// What follows `parts`, with space before each; whether it may come where it does not.
fn after<'t>(text: &'t str, parts: &[String]) -> Result<&'t str, bool> {
    let mut rest = text;
    for part in parts {
        let next = rest.trim_start();
        rest = next.strip_prefix(part.as_str()).ok_or_else(|| part.starts_with(next))?;
    }
    Ok(rest)
}

/// A name with `[ARGS]` after it.
fn named(text: &str, tools: &[Tool]) -> Beginning {
    let Some((head, rest)) = text.split_once(NAMED_ARGUMENTS) else {
        return if text.len() > NAME_BYTES_MAX { Beginning::None } else { Beginning::Unfinished };
    };
    let name = head.split(NAMED_ID).next().unwrap_or_default().trim();
    let object = rest.trim_start();
    match tools.iter().position(|tool| tool.name == name) {
        Some(_) if object.is_empty() => Beginning::Unfinished,
        Some(tool) if object.starts_with('{') => Beginning::Call { tool, bytes: text.len() - object.len() },
        _ => Beginning::None,
    }
}

/// `<function=` with a name.
fn function(text: &str, tools: &[Tool]) -> Beginning {
    let rest = text.trim_start();
    let Some((name, arguments)) = rest.strip_prefix(FUNCTION_BEGIN).and_then(|rest| rest.split_once('>')) else {
        let may_be =
            FUNCTION_BEGIN.starts_with(rest) || rest.starts_with(FUNCTION_BEGIN) && rest.len() < NAME_BYTES_MAX;
        return if may_be { Beginning::Unfinished } else { Beginning::None };
    };
    let tool = tools.iter().position(|tool| tool.name == name);
    tool.map_or(Beginning::None, |tool| Beginning::Call { tool, bytes: text.len() - arguments.len() })
}
