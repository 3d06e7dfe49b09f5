//! [`CallConvention`]: how a model writes that it calls a tool. Its template shows it, for it writes down earlier calls.

/// Begins a call of [`CallConvention::Tagged`].
pub const TAG_BEGIN: &str = "<tool_call>";
/// Ends it.
pub const TAG_END: &str = "</tool_call>";
/// Begins the calls of [`CallConvention::Listed`].
pub const LIST_BEGIN: &str = "[TOOL_CALLS]";

/// Of special tokens, these are told as part of an answer: they say where its calls are.
pub(crate) const SHOWN: [&str; 3] = [TAG_BEGIN, TAG_END, LIST_BEGIN];

/// How calls are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CallConvention {
    /// `<tool_call>`, `{"name": …, "arguments": …}`, `</tool_call>`, each on its line, for each call: Hermes, Qwen 2.5 and 3.
    Tagged,
    /// `[TOOL_CALLS] [{"name": …, "arguments": …}, …]`: Mistral.
    Listed,
    /// `{"name": …, "parameters": …}` as the whole answer: Llama 3.1 and later.
    Parameters,
    /// `{"name": …, "arguments": …}` as the whole answer, of models that know of no calls.
    #[default]
    Plain,
}

impl CallConvention {
    /// The one that a template shows.
    pub(crate) fn of(template: &str) -> Self {
        // Qwen 3 Coder has the tags of the others, and XML between them.
        if template.contains(TAG_BEGIN) && !template.contains("<function=") {
            return CallConvention::Tagged;
        }
        if template.contains(LIST_BEGIN) {
            return CallConvention::Listed;
        }
        if template.contains("ipython") || template.contains("\"parameters\": ") {
            return CallConvention::Parameters;
        }
        CallConvention::Plain
    }

    /// What the arguments are called beside the name.
    pub fn arguments_key(self) -> &'static str {
        match self {
            CallConvention::Parameters => "parameters",
            CallConvention::Tagged | CallConvention::Listed | CallConvention::Plain => "arguments",
        }
    }

    /// The text that begins calls, where there is one.
    pub fn begin(self) -> Option<&'static str> {
        match self {
            CallConvention::Tagged => Some(TAG_BEGIN),
            CallConvention::Listed => Some(LIST_BEGIN),
            CallConvention::Parameters | CallConvention::Plain => None,
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
            ("{{ '<tool_call>\\n<function=' + name }}", CallConvention::Plain),
            ("{{ '[TOOL_CALLS] [' }}", CallConvention::Listed),
            ("{{ '{\"name\": \"' + name + '\", ' + '\"parameters\": ' }}", CallConvention::Parameters),
            ("{{ message.content }}", CallConvention::Plain),
        ] {
            assert_eq!(CallConvention::of(template), expected, "{template}");
        }
    }
}
