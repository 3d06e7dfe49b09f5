//! [`CallReader`]: the calls in what a model writes, told from the rest while it comes.
//!
//! Each call is told when it is whole. What begins like a call and is none stays text, as the model wrote it.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use headland_chat::{CALLS_MAX, CallConvention, TAG_END};
use serde_json::Value;

/// How calls are read.
#[derive(Clone, Debug)]
pub struct CallReading {
    /// How the model writes them.
    pub(crate) convention: CallConvention,
    /// What may be called.
    pub(crate) names: Arc<[String]>,
}

/// A call of a tool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    pub name: String,
    /// JSON.
    pub arguments: String,
}

/// What a piece of an answer says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Read {
    pub text: String,
    pub calls: Vec<Call>,
}

/// Reads one answer.
#[derive(Clone, Debug)]
pub(crate) struct CallReader {
    reading: CallReading,
    /// What may be the beginning of a call, or part of one; space before it too.
    held: String,
    inside: bool,
    /// Whether something was told: an answer that is a call as a whole has nothing before it.
    began: bool,
    calls: usize,
}

impl CallReader {
    pub fn new(reading: CallReading) -> Self {
        CallReader { reading, held: String::new(), inside: false, began: false, calls: 0 }
    }

    /// How many calls it has read.
    pub fn calls(&self) -> usize {
        self.calls
    }

    /// Takes the next piece, which may be the last.
    pub fn take(&mut self, piece: &str, last: bool) -> Read {
        let mut read = self.push(piece);
        if last {
            let Read { text, calls } = self.finish();
            read.text.push_str(&text);
            read.calls.extend(calls);
        }
        read
    }

    /// Takes the next piece.
    fn push(&mut self, piece: &str) -> Read {
        let mut read = Read::default();
        self.held.push_str(piece);
        while self.advance(&mut read) {}
        self.began |= !read.text.is_empty();
        read
    }

    /// What is left at the end.
    fn finish(&mut self) -> Read {
        let held = std::mem::take(&mut self.held);
        if self.inside {
            // A model that ends its answer need not end its call.
            return self.read(&held).unwrap_or(Read { text: held, ..Read::default() });
        }
        let space = self.calls > 0 && held.trim().is_empty();
        Read { text: if space { String::new() } else { held }, ..Read::default() }
    }

    /// Goes on as far as one thing goes: whether there may be another.
    fn advance(&mut self, read: &mut Read) -> bool {
        if self.inside {
            return self.end_call(read);
        }
        let convention = self.reading.convention;
        let Some(begin) = convention.begin() else {
            // The whole answer, or nothing of it.
            let first = self.held.trim_start().chars().next();
            self.inside = !self.began && first == Some('{');
            if !self.inside && first.is_some() {
                read.text.push_str(&std::mem::take(&mut self.held));
            }
            return false;
        };
        if let Some(at) = self.held.find(begin) {
            self.tell(self.held[..at].trim_end().len(), read);
            self.inside = true;
            return true;
        }
        // The end of it may be the beginning of a call, with the space before it.
        let unfinished =
            (1..begin.len().min(self.held.len() + 1)).rev().find(|len| self.held.ends_with(&begin[..*len]));
        self.tell(self.held[..self.held.len() - unfinished.unwrap_or(0)].trim_end().len(), read);
        false
    }

    fn tell(&mut self, bytes: usize, read: &mut Read) {
        read.text.extend(self.held.drain(..bytes));
    }

    /// Reads a call whose end has come.
    fn end_call(&mut self, read: &mut Read) -> bool {
        if self.reading.convention != CallConvention::Tagged {
            return false;
        }
        let Some(at) = self.held.find(TAG_END) else { return false };
        let rest = self.held.split_off(at + TAG_END.len());
        let whole = std::mem::replace(&mut self.held, rest);
        self.inside = false;
        match self.read(&whole[..at]) {
            Some(call) => read.calls.extend(call.calls),
            None => read.text.push_str(&whole),
        }
        true
    }

    /// The calls that a text is, if it is nothing else.
    fn read(&mut self, text: &str) -> Option<Read> {
        let json = text.trim_start().strip_prefix(self.reading.convention.begin().unwrap_or_default())?;
        let value: Value = serde_json::from_str(json).ok()?;
        let all = match value {
            Value::Array(all) => all,
            one => vec![one],
        };
        let calls = all.into_iter().map(|call| self.call(call)).collect::<Option<Vec<Call>>>()?;
        if calls.is_empty() || self.calls + calls.len() > CALLS_MAX {
            return None;
        }
        self.calls += calls.len();
        Some(Read { text: String::new(), calls })
    }

    fn call(&self, mut call: Value) -> Option<Call> {
        let name =
            call["name"].as_str().filter(|name| self.reading.names.iter().any(|known| known == name))?.to_owned();
        // Models that write one of them are often taken for the other kind.
        let arguments = ["arguments", "parameters"].into_iter().find_map(|key| call.get_mut(key).map(Value::take));
        let arguments = match arguments {
            None => "{}".to_owned(),
            // Some write JSON in JSON.
            Some(Value::String(arguments)) => arguments,
            Some(arguments) => arguments.to_string(),
        };
        Some(Call { name, arguments })
    }
}

/// The call's name of its own: nine letters and digits, which is what Mistral's template takes back.
pub(crate) fn call_id(answer: &str, choice: usize, call: usize) -> String {
    let mut hasher = DefaultHasher::new();
    (answer, choice, call).hash(&mut hasher);
    let mut left = hasher.finish();
    let digit = |_| {
        let digit = char::from_digit((left % 36) as u32, 36).unwrap_or('0');
        left /= 36;
        digit
    };
    (0..9).map(digit).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ONE: &str = r#"{"name": "weather", "arguments": {"city": "Oslo </b>"}}"#;

    fn read(convention: CallConvention, pieces: &[&str]) -> (String, Vec<(String, String)>) {
        let names = ["weather".to_owned(), "now".to_owned()].into();
        let mut reader = CallReader::new(CallReading { convention, names });
        let mut all: Vec<Read> = pieces.iter().map(|piece| reader.push(piece)).collect();
        all.push(reader.finish());
        let text = all.iter().map(|read| read.text.as_str()).collect();
        let calls: Vec<(String, String)> =
            all.into_iter().flat_map(|read| read.calls).map(|call| (call.name, call.arguments)).collect();
        assert_eq!(reader.calls(), calls.len());
        (text, calls)
    }

    fn oslo() -> (String, String) {
        ("weather".to_owned(), r#"{"city":"Oslo </b>"}"#.to_owned())
    }

    fn now() -> (String, String) {
        ("now".to_owned(), "{}".to_owned())
    }

    #[test]
    fn calls_are_read_as_each_family_writes_them() {
        let tagged = format!(
            "Let me see.\n\n<tool_call>\n{ONE}\n</tool_call>\n<tool_call>\n{{\"name\": \"now\"}}\n</tool_call>"
        );
        assert_eq!(read(CallConvention::Tagged, &[&tagged]), ("Let me see.".to_owned(), vec![oslo(), now()]));
        let unended = format!("<tool_call>{ONE}");
        assert_eq!(read(CallConvention::Tagged, &[&unended]), (String::new(), vec![oslo()]));
        let listed = format!("[TOOL_CALLS] [{ONE}, {{\"name\": \"now\", \"arguments\": {{}}}}]");
        assert_eq!(read(CallConvention::Listed, &[&listed]), (String::new(), vec![oslo(), now()]));
        let parameters = format!("\n{}", ONE.replace("arguments", "parameters"));
        assert_eq!(read(CallConvention::Parameters, &[&parameters]), (String::new(), vec![oslo()]));
        let inner = r#"{"name": "now", "arguments": "{\"a\": 1}"}"#;
        assert_eq!(read(CallConvention::Plain, &[inner]).1, [("now".to_owned(), "{\"a\": 1}".to_owned())]);
    }

    #[test]
    fn what_is_no_call_stays_as_it_is() {
        for (convention, text) in [
            (CallConvention::Tagged, "a < b, and <tool_calls> too\n"),
            (CallConvention::Tagged, "<tool_call>{\"name\": \"unknown\", \"arguments\": {}}</tool_call> so"),
            (CallConvention::Tagged, "<tool_call>{\"name\": \"now\", "),
            (CallConvention::Listed, "[TOOL_CALLS] soon"),
            (CallConvention::Listed, "[1, 2]"),
            (CallConvention::Parameters, "{\"name\": \"Alice\", \"age\": 3}"),
            (CallConvention::Plain, "The call is {\"name\": \"now\", \"arguments\": {}}"),
            (CallConvention::Plain, " \n"),
        ] {
            assert_eq!(read(convention, &[text]), (text.to_owned(), vec![]), "{convention:?}");
        }
        let many = "<tool_call>{\"name\": \"now\"}</tool_call>".repeat(100);
        assert_eq!(read(CallConvention::Tagged, &[&many]).1.len(), CALLS_MAX);
    }

    #[test]
    fn a_call_has_a_name_of_its_own() {
        let ids: std::collections::BTreeSet<String> =
            (0..100).map(|index| call_id("chatcmpl-7", index / 10, index % 10)).collect();
        assert_eq!(ids.len(), 100);
        assert!(ids.iter().all(|id| id.len() == 9 && id.chars().all(|character| character.is_ascii_alphanumeric())));
    }

    proptest! {
        #[test]
        fn it_does_not_matter_where_pieces_end(
            parts in prop::collection::vec(prop::sample::select(vec![
                "<tool_call>", "</tool_call>", "{\"name\": \"now\"}", "\n", " ", "text", "<", "ü", "[TOOL_CALLS]", "[", "]"]), 0..12),
            cuts in prop::collection::vec(1usize..6, 80)
        ) {
            let whole = parts.concat();
            let (mut pieces, mut rest) = (Vec::new(), whole.as_str());
            for cut in cuts {
                let (piece, after) = rest.split_at(rest.floor_char_boundary(cut.min(rest.len())));
                pieces.push(piece);
                rest = after;
            }
            pieces.push(rest);
            for convention in [CallConvention::Tagged, CallConvention::Listed, CallConvention::Plain] {
                let (text, calls) = read(convention, &[&whole]);
                let expected = (text.clone(), calls.clone());
                prop_assert_eq!(read(convention, &pieces), expected);
                prop_assert!(!calls.is_empty() || text == whole, "`{}` for `{}`", text, whole);
            }
        }
    }
}
