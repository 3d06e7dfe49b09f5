//! [`CallConvention`]: how a model writes that it calls a tool. Its template shows it, for it writes down earlier calls.

/// Begins a call of [`CallConvention::Tagged`] and [`CallConvention::Functions`].
pub const TAG_BEGIN: &str = "<tool_call>";
/// Ends it.
pub const TAG_END: &str = "</tool_call>";
/// Begins the calls of [`CallConvention::Listed`], and each of [`CallConvention::Named`].
pub const LIST_BEGIN: &str = "[TOOL_CALLS]";
/// Stands before the arguments of [`CallConvention::Named`].
pub const NAMED_ARGUMENTS: &str = "[ARGS]";
/// Stands between name and arguments there, with a name that the model gives the call.
pub const NAMED_ID: &str = "[CALL_ID]";
/// Begins what is called in [`CallConvention::Functions`], up to `>`.
pub const FUNCTION_BEGIN: &str = "<function=";
/// Ends it.
pub const FUNCTION_END: &str = "</function>";
/// Begins one of its arguments, up to `>`.
pub const PARAMETER_BEGIN: &str = "<parameter=";
/// Ends it.
pub const PARAMETER_END: &str = "</parameter>";
/// What objects call their arguments. Models that write one are often taken for the other kind.
pub const ARGUMENTS_KEYS: [&str; 2] = ["arguments", "parameters"];

/// Of special tokens, these are told as part of an answer: they say where its calls are.
pub(crate) const SHOWN: [&str; 5] = [TAG_BEGIN, TAG_END, LIST_BEGIN, NAMED_ARGUMENTS, NAMED_ID];

/// How calls are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CallConvention {
    /// `<tool_call>`, `{"name": …, "arguments": …}`, `</tool_call>`, each on its line, for each call: Hermes, Qwen 2.5 and 3.
    Tagged,
    /// `<tool_call>`, `<function=…>`, for each argument `<parameter=…>`, its value and `</parameter>`, then `</function>`,
    /// `</tool_call>`, each on its line, for each call: Qwen 3 Coder.
    Functions,
    /// `[TOOL_CALLS] [{"name": …, "arguments": …}, …]`: Mistral's earlier models.
    Listed,
    /// `[TOOL_CALLS]`, the name, `[ARGS]{…}` for each call: Mistral's later models.
    Named,
    /// `{"name": …, "parameters": …}` as the whole answer: Llama 3.1 and later, and models that know of no calls.
    #[default]
    Plain,
}

impl CallConvention {
    /// The one that a template shows.
    pub(crate) fn of(template: &str) -> Self {
        match (template.contains(TAG_BEGIN), template.contains(LIST_BEGIN)) {
            // Both have the same tags.
            (true, _) if template.contains(FUNCTION_BEGIN) => CallConvention::Functions,
            (true, _) => CallConvention::Tagged,
            (_, true) if template.contains(NAMED_ARGUMENTS) => CallConvention::Named,
            (_, true) => CallConvention::Listed,
            _ => CallConvention::Plain,
        }
    }

    /// The text that begins calls, wherever it stands in an answer; where there is none, a call is the whole answer.
    pub fn begin(self) -> Option<&'static str> {
        match self {
            CallConvention::Tagged | CallConvention::Functions => Some(TAG_BEGIN),
            CallConvention::Listed | CallConvention::Named => Some(LIST_BEGIN),
            CallConvention::Plain => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_shows_how_calls_are_written() {
        for (template, expected) in [
            ("{{ '<tool_call>\\n{\"name\": \"' }}", CallConvention::Tagged),
            ("{{ '<tool_call>\\n<function=' + name }}", CallConvention::Functions),
            ("{{ '[TOOL_CALLS] [' }}", CallConvention::Listed),
            ("{{ '[TOOL_CALLS]' + name + '[ARGS]' }}", CallConvention::Named),
            ("{{ '{\"name\": \"' + name + '\", ' + '\"parameters\": ' }}", CallConvention::Plain),
            ("{{ message.content }}", CallConvention::Plain),
        ] {
            assert_eq!(CallConvention::of(template), expected, "{template}");
        }
    }
}
