//! [`CallReader`]: the calls in what a model writes, told from the rest while it comes.
//!
//! A call is one from the name of the tool on, where it is followed by arguments; these are told as they come. Up to there what
//! begins like a call may still be text, and stays as the model wrote it. Who holds the answer to its form agrees on where that
//! is ([`headland_chat::Head`]), so that arguments have the form of the tool's wherever there is a grammar for them.

mod beginning;
mod function;
mod scan;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use headland_chat::{CALLS_MAX, CallConvention, TAG_END, Tool};

use beginning::Beginning;
use function::{Arguments, Step};
use scan::Scan;

/// How calls are read.
#[derive(Clone, Debug)]
pub struct CallReading {
    /// How the model writes them.
    pub(crate) convention: CallConvention,
    /// What may be called.
    pub(crate) tools: Arc<[Tool]>,
    /// Whether an answer that begins with something else has no calls.
    pub(crate) from_the_beginning: bool,
}

/// What a piece of an answer says, in its order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Read(pub Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// What is no call.
    Text(String),
    /// A call of this tool begins.
    Call(String),
    /// Of its arguments, in JSON.
    Arguments(String),
}

impl Read {
    pub fn of_text(text: &str) -> Self {
        let mut read = Read::default();
        read.text(text);
        read
    }

    fn text(&mut self, more: &str) {
        match self.0.last_mut() {
            Some(Part::Text(text)) => text.push_str(more),
            _ if more.is_empty() => {}
            _ => self.0.push(Part::Text(more.to_owned())),
        }
    }

    fn arguments(&mut self, more: &str) {
        match self.0.last_mut() {
            Some(Part::Arguments(arguments)) => arguments.push_str(more),
            _ if more.is_empty() => {}
            _ => self.0.push(Part::Arguments(more.to_owned())),
        }
    }
}

/// Reads one answer.
#[derive(Clone, Debug)]
pub(crate) struct CallReader {
    reading: CallReading,
    /// What was not told yet: what may be the beginning of a call, and space before it.
    held: String,
    at: At,
    /// Whether text was told.
    began: bool,
    calls: usize,
}

/// Where the beginning of what is held stands.
#[derive(Clone, Debug)]
enum At {
    /// Outside of calls.
    Text,
    /// Where a call may begin, with so many bytes of what announces it.
    Head { announced: usize },
    /// In an object of arguments.
    Object(Scan),
    /// After it, in the object that is the call.
    Rest(Scan),
    /// In arguments that come one by one.
    Function(Arguments),
    /// After a call, before what ends it.
    Closing,
}

impl CallReader {
    pub fn new(reading: CallReading) -> Self {
        CallReader { reading, held: String::new(), at: At::Text, began: false, calls: 0 }
    }

    /// How many calls it has read.
    pub fn calls(&self) -> usize {
        self.calls
    }

    /// Takes the next piece, which may be the last.
    pub fn take(&mut self, piece: &str, last: bool) -> Read {
        let mut read = Read::default();
        self.held.push_str(piece);
        while self.advance(&mut read) {}
        if last {
            self.finish(&mut read);
        }
        read
    }

    /// What is left at the end.
    fn finish(&mut self, read: &mut Read) {
        let held = std::mem::take(&mut self.held);
        match std::mem::replace(&mut self.at, At::Text) {
            // Space after the last call is none of the answer.
            At::Text if self.calls > 0 && held.trim().is_empty() => {}
            At::Text | At::Head { .. } => read.text(&held),
            At::Function(arguments) => arguments.finish(read),
            At::Object(_) | At::Rest(_) | At::Closing => {}
        }
    }

    /// Goes on as far as one thing goes: whether there may be another.
    fn advance(&mut self, read: &mut Read) -> bool {
        match &mut self.at {
            At::Text => self.text(read),
            At::Head { announced } => {
                let announced = *announced;
                self.head(announced, read)
            }
            At::Object(scan) => {
                let end = scan.take(&self.held);
                let told: String = self.held.drain(..end.unwrap_or(self.held.len())).collect();
                read.arguments(&told);
                if end.is_some() {
                    let is_object = self.reading.convention != CallConvention::Named;
                    self.at = if is_object { At::Rest(Scan::inside()) } else { At::Text };
                }
                end.is_some()
            }
            At::Rest(scan) => {
                let end = scan.take(&self.held);
                self.held.drain(..end.unwrap_or(self.held.len()));
                if end.is_some() {
                    self.end_object();
                }
                end.is_some()
            }
            At::Function(arguments) => match arguments.advance(&mut self.held, read) {
                Step::Again => true,
                Step::Wait => false,
                Step::End => {
                    self.at = At::Closing;
                    true
                }
            },
            At::Closing => self.close(),
        }
    }

    /// Tells what no call can begin with.
    fn text(&mut self, read: &mut Read) -> bool {
        let begin = self.reading.convention.begin();
        if begin.is_some() && !self.reading.from_the_beginning {
            let begin = begin.unwrap_or_default();
            let (announced, told) = match self.held.find(begin) {
                Some(at) => (Some(begin.len()), at),
                // The end of it may be the beginning of a call.
                None => (None, self.held.len() - unfinished(&self.held, begin)),
            };
            // So may the space before it.
            let told = self.held[..told].trim_end().len();
            self.tell(told, read);
            let space = self.held.len() - self.held.trim_start().len();
            self.at = announced.map_or(At::Text, |bytes| At::Head { announced: space + bytes });
            return announced.is_some();
        }
        let rest = self.held.trim_start();
        let begin = begin.unwrap_or("{");
        if !self.began && rest.starts_with(begin) {
            // An object is its own announcement.
            let announced =
                self.reading.convention.begin().map_or(0, |begin| self.held.len() - rest.len() + begin.len());
            self.at = At::Head { announced };
            return true;
        }
        let may_begin = !self.began && begin.starts_with(rest);
        if !(may_begin || self.calls > 0 && rest.is_empty()) {
            self.tell(self.held.len(), read);
        }
        false
    }

    fn tell(&mut self, bytes: usize, read: &mut Read) {
        let told: String = self.held.drain(..bytes).collect();
        self.began |= !told.trim().is_empty();
        read.text(&told);
    }

    /// Begins a call, or goes on with text.
    fn head(&mut self, announced: usize, read: &mut Read) -> bool {
        let beginning = match self.calls < CALLS_MAX {
            true => Beginning::of(&self.held[announced..], &self.reading),
            false => Beginning::None,
        };
        let (tool, bytes, bare) = match beginning {
            Beginning::Unfinished => return false,
            Beginning::None => {
                // What was announced is not looked at again.
                let told = announced.max(self.held.len().min(1));
                self.began = true;
                self.at = At::Text;
                self.tell(self.held.ceil_char_boundary(told), read);
                return true;
            }
            Beginning::Call { tool, bytes } => (tool, bytes, false),
            Beginning::Bare { tool, bytes } => (tool, bytes, true),
        };
        let Tool { name, parameters } = &self.reading.tools[tool];
        self.calls += 1;
        read.0.push(Part::Call(name.clone()));
        self.at = match self.reading.convention {
            CallConvention::Functions => {
                read.arguments("{");
                At::Function(Arguments::new(parameters.clone()))
            }
            _ => At::Object(Scan::default()),
        };
        self.held.drain(..announced + bytes);
        if bare {
            read.arguments("{}");
            self.end_object();
        }
        true
    }

    /// The object ends that is a call.
    fn end_object(&mut self) {
        self.at = match self.reading.convention {
            CallConvention::Plain => {
                // It was the whole answer.
                self.began = true;
                At::Text
            }
            _ => At::Closing,
        };
    }

    /// Takes what ends calls.
    fn close(&mut self) -> bool {
        let rest = self.held.trim_start();
        let end = if self.reading.convention == CallConvention::Listed { "]" } else { TAG_END };
        if self.reading.convention == CallConvention::Listed && rest.starts_with(',') {
            self.at = At::Head { announced: 0 };
            return true;
        }
        if end.starts_with(rest) && rest != end {
            return false;
        }
        if let Some(after) = rest.strip_prefix(end) {
            self.held = after.to_owned();
        }
        self.at = At::Text;
        true
    }
}

/// Bytes at the end of `text` that `whole` begins with, not all of it.
fn unfinished(text: &str, whole: &str) -> usize {
    let lengths = (1..whole.len().min(text.len() + 1)).rev();
    lengths
        .filter(|length| whole.is_char_boundary(*length))
        .find(|length| text.ends_with(&whole[..*length]))
        .unwrap_or(0)
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
mod tests;
