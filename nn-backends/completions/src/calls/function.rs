//! [`Arguments`]: arguments that a model writes one by one, as the JSON that clients get.

use headland_chat::{FUNCTION_END, PARAMETER_BEGIN, PARAMETER_END, Parameter};
use serde_json::Value;

use super::{Read, unfinished};

/// Reads the arguments of one call.
#[derive(Clone, Debug)]
pub(super) struct Arguments {
    /// Their schema.
    parameters: Option<Value>,
    /// Whether there was one.
    any: bool,
    at: At,
}

#[derive(Clone, Debug)]
enum At {
    Between,
    /// In a text, of which something was told or nothing.
    Text {
        begun: bool,
    },
    Json {
        name: String,
        only_text: bool,
    },
}

/// What came of what is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// There may be more.
    Again,
    /// More has to come first.
    Wait,
    /// The function ended.
    End,
}

impl Arguments {
    pub fn new(parameters: Option<Value>) -> Self {
        Arguments { parameters, any: false, at: At::Between }
    }

    /// Goes on in `held`, from which it takes what it has read.
    pub fn advance(&mut self, held: &mut String, read: &mut Read) -> Step {
        match &mut self.at {
            At::Between => self.between(held, read),
            At::Text { begun } => {
                if !*begun {
                    if held.is_empty() {
                        return Step::Wait;
                    }
                    // The line's end before the value is none of it, and neither is the one after.
                    let line = held.strip_prefix('\n').map_or(0, |_| 1);
                    held.drain(..line);
                    *begun = true;
                }
                if let Some(at) = held.find(PARAMETER_END) {
                    let value = held[..at].strip_suffix('\n').unwrap_or(&held[..at]);
                    read.arguments(&(escaped(value) + "\""));
                    held.drain(..at + PARAMETER_END.len());
                    self.at = At::Between;
                    return Step::Again;
                }
                let kept = unfinished(held, &format!("\n{PARAMETER_END}")).max(unfinished(held, PARAMETER_END));
                let told: String = held.drain(..held.len() - kept).collect();
                read.arguments(&escaped(&told));
                Step::Wait
            }
            At::Json { name, only_text } => {
                let Some(at) = held.find(PARAMETER_END) else { return Step::Wait };
                let written = held[..at].trim();
                let value = serde_json::from_str::<Value>(written).ok();
                let value = value.filter(|value| !*only_text || value.is_string());
                let value = value.map_or_else(|| Value::from(written).to_string(), |_| written.to_owned());
                let comma = if self.any { ", " } else { "" };
                read.arguments(&format!("{comma}{}: {value}", Value::from(name.as_str())));
                held.drain(..at + PARAMETER_END.len());
                (self.any, self.at) = (true, At::Between);
                Step::Again
            }
        }
    }

    fn between(&mut self, held: &mut String, read: &mut Read) -> Step {
        let rest = held.trim_start();
        if let Some(after) = rest.strip_prefix(PARAMETER_BEGIN) {
            let Some((name, value)) = after.split_once('>') else { return Step::Wait };
            match Parameter::of(self.parameters.as_ref(), name) {
                Parameter::Text => {
                    let comma = if std::mem::replace(&mut self.any, true) { ", " } else { "" };
                    read.arguments(&format!("{comma}{}: \"", Value::from(name)));
                    self.at = At::Text { begun: false };
                }
                Parameter::Json { only_text } => self.at = At::Json { name: name.to_owned(), only_text },
            }
            *held = value.to_owned();
            return Step::Again;
        }
        let after = rest.strip_prefix(FUNCTION_END).map(str::to_owned);
        if after.is_none() && (PARAMETER_BEGIN.starts_with(rest) || FUNCTION_END.starts_with(rest)) {
            return Step::Wait;
        }
        // Whatever else follows is no argument any more.
        read.arguments("}");
        if let Some(after) = after {
            *held = after;
        }
        Step::End
    }

    /// What is left where the answer ends here.
    pub fn finish(&self, read: &mut Read) {
        if matches!(self.at, At::Between) {
            read.arguments("}");
        }
    }
}

/// A text as it stands in JSON, without its quotes.
fn escaped(text: &str) -> String {
    let quoted = Value::from(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}
