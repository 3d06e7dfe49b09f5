//! E-mail addresses and long numbers (of telephones, cards, accounts) out of text.
//!
//! Text may come in pieces: what may still become personal data is held back until it is clear what it is.

/// What is held back at the most; longer words are no addresses, longer numbers none of a telephone.
pub const HELD_BYTES_MAX: usize = 256;
/// Digits of a number that is personal: fewer are years and prices.
const DIGITS: std::ops::RangeInclusive<usize> = 7..=19;

const EMAIL: &str = "[e-mail removed]";
const NUMBER: &str = "[number removed]";

/// Takes personal data out of one text that comes in pieces.
#[derive(Debug, Default)]
pub struct Redactor {
    held: String,
    removed: usize,
}

/// A text without personal data, and how much of it there was.
pub fn redact(text: &str) -> (String, usize) {
    let mut redactor = Redactor::default();
    let text = redactor.push(text) + &redactor.finish();
    (text, redactor.removed())
}

impl Redactor {
    /// Takes the next piece: what can be told of all so far.
    pub fn push(&mut self, piece: &str) -> String {
        self.held.push_str(piece);
        self.scan(false)
    }

    /// What is left at the end.
    pub fn finish(&mut self) -> String {
        self.scan(true)
    }

    /// How many addresses and numbers were removed.
    pub fn removed(&self) -> usize {
        self.removed
    }

    fn scan(&mut self, last: bool) -> String {
        let text = std::mem::take(&mut self.held);
        let mut out = String::new();
        let mut rest = text.as_str();
        while let Some(first) = rest.chars().next() {
            let number = span(rest, in_number);
            let word = span(rest, in_address);
            // What ends with the text may go on in the next piece.
            let open = |span: &str| !last && span.len() == rest.len() && span.len() < HELD_BYTES_MAX;
            if starts_number(first) && open(number) || in_address(first) && open(word) {
                break;
            }
            let end = match (number_of(first, number), address_of(word)) {
                // An address may begin with a number.
                (_, Some(end)) => {
                    out.push_str(EMAIL);
                    self.removed += 1;
                    end
                }
                (Some(end), None) => {
                    out.push_str(NUMBER);
                    self.removed += 1;
                    end
                }
                (None, None) => {
                    let end = plain_of(first, rest, word);
                    out.push_str(&rest[..end]);
                    end
                }
            };
            rest = &rest[end..];
        }
        self.held = rest.to_owned();
        out
    }
}

fn span(text: &str, belongs: fn(char) -> bool) -> &str {
    &text[..text.find(|c| !belongs(c)).unwrap_or(text.len())]
}

fn in_address(c: char) -> bool {
    c.is_alphanumeric() || ".!#$%&'*+/=?^_`{|}~-@".contains(c)
}

fn in_number(c: char) -> bool {
    c.is_ascii_digit() || " +-().\u{a0}".contains(c)
}

fn starts_number(c: char) -> bool {
    c.is_ascii_digit() || "+(".contains(c)
}

/// Where a number ends that `span` begins with, if it is long enough to be personal.
fn number_of(first: char, span: &str) -> Option<usize> {
    let digits = span.chars().filter(char::is_ascii_digit).count();
    let end = span.rfind(|c: char| c.is_ascii_digit())? + 1;
    (starts_number(first) && DIGITS.contains(&digits)).then_some(end)
}

/// Where an address ends that is `word`, but for the marks around it.
fn address_of(word: &str) -> Option<usize> {
    let trimmed = word.trim_end_matches(|c: char| !c.is_alphanumeric());
    let (local, domain) = trimmed.rsplit_once('@')?;
    let named = local.chars().any(char::is_alphanumeric);
    let dotted = domain.split_once('.').is_some_and(|(host, top)| !host.is_empty() && !top.is_empty());
    (named && dotted).then_some(trimmed.len())
}

/// How far plain text goes: to the end of the word, but not into a number that is a word by itself.
fn plain_of(first: char, rest: &str, word: &str) -> usize {
    if word.is_empty() || starts_number(first) {
        // A number that is short is told with its digits together.
        return span(rest, |c| c.is_ascii_digit()).len().max(first.len_utf8());
    }
    // `tel+15551234567` hides nothing: a number begins after letters too, and in the middle of a word it is part of it.
    word.char_indices().skip(1).find(|(_, c)| "+(".contains(*c)).map_or(word.len(), |(at, _)| at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_long_numbers_go_and_everything_else_stays() {
        for (text, expected) in [
            ("Write to jane.doe+x@example.co.uk.", "Write to [e-mail removed]."),
            ("<jane@example.com>, please", "<[e-mail removed]>, please"),
            ("Call +1 (555) 123-4567 now", "Call [number removed] now"),
            ("tel:0301234567", "tel:[number removed]"),
            ("card 4111 1111 1111 1111!", "card [number removed]!"),
            ("In 2026 it cost 12.50, or 3 of 10.", "In 2026 it cost 12.50, or 3 of 10."),
            ("a@b, @home and x@ are no addresses", "a@b, @home and x@ are no addresses"),
            ("Grüße an jürgen@müller.de", "Grüße an [e-mail removed]"),
            ("", ""),
        ] {
            assert_eq!(redact(text).0, expected);
        }
        assert_eq!(redact("a@b.c and d@e.f and 030 1234567").1, 3);
    }

    #[test]
    fn it_does_not_matter_where_pieces_end() {
        let text = "Hi, I am jane@example.com; call +49 30 1234567 or 12 until 5. Ünï@ex.org";
        let (whole, removed) = redact(text);
        let characters: Vec<char> = text.chars().collect();
        for size in 1..characters.len() {
            let mut redactor = Redactor::default();
            let pieces = characters.chunks(size).map(|piece| redactor.push(&piece.iter().collect::<String>()));
            let told = pieces.collect::<String>() + &redactor.finish();
            assert_eq!((told, redactor.removed()), (whole.clone(), removed), "pieces of {size}");
        }
    }

    #[test]
    fn what_is_held_back_is_bounded() {
        let mut redactor = Redactor::default();
        let told = redactor.push(&"x".repeat(10 * HELD_BYTES_MAX));
        assert!(told.len() >= 9 * HELD_BYTES_MAX);
    }
}
