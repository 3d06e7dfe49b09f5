//! Tokens to text while they come: what a token adds is known only when the characters it is part of are whole.

/// Turns token ids into text; a tokenizer.
pub trait Decode: Send + Sync {
    /// The text of `tokens`, special ones left out. Bytes that are no UTF-8 become U+FFFD.
    fn decode(&self, tokens: &[u32]) -> String;
}

/// Tokens that are waited for at most before what is no character is told as U+FFFD. A character has four bytes at most, and
/// a token one at least; twice as many, for a model may mean U+FFFD itself, and go on with a character of four.
const UNFINISHED_MAX: usize = 8;

/// The text of one answer, piece by piece.
#[derive(Clone, Debug, Default)]
pub struct Detokenizer {
    tokens: Vec<u32>,
    /// Where the tokens begin whose text the next piece may depend on: the last ones that were told, for tokenizers put
    /// spaces between tokens, and take them from the first.
    context: usize,
    /// Where the tokens begin that were not told.
    told: usize,
}

impl Detokenizer {
    /// Takes the next token: what can be told now, which may be nothing.
    pub fn push(&mut self, token: u32, decode: &dyn Decode) -> String {
        self.tokens.push(token);
        let (before, all) = self.texts(decode);
        let unfinished = all.ends_with(char::REPLACEMENT_CHARACTER) && self.tokens.len() - self.told < UNFINISHED_MAX;
        if unfinished || all.len() <= before.len() {
            return String::new();
        }
        let piece = added(&before, &all);
        self.context = self.told;
        self.told = self.tokens.len();
        // What came before the context is never looked at again.
        self.tokens.drain(..self.context);
        self.told -= self.context;
        self.context = 0;
        piece
    }

    /// What is left at the end, whole characters or not.
    pub fn finish(&mut self, decode: &dyn Decode) -> String {
        let (before, all) = self.texts(decode);
        *self = Detokenizer::default();
        added(&before, &all)
    }

    fn texts(&self, decode: &dyn Decode) -> (String, String) {
        (decode.decode(&self.tokens[self.context..self.told]), decode.decode(&self.tokens[self.context..]))
    }
}

/// What `all` has beyond `before`, with which it begins, unless the tokenizer changes its mind on what it has said.
fn added(before: &str, all: &str) -> String {
    let same = before.chars().zip(all.chars()).take_while(|(a, b)| a == b).map(|(a, _)| a.len_utf8()).sum::<usize>();
    match same == before.len() {
        true => all[same..].to_owned(),
        // An unfinished character that was told as such has been finished: the rest is what follows it.
        false => all.chars().skip(before.chars().count()).collect(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A token is a byte, as in the worst of byte-level vocabularies; 256 and above are pieces of several.
    struct Bytes;

    impl Decode for Bytes {
        fn decode(&self, tokens: &[u32]) -> String {
            let piece = |token: &u32| match u8::try_from(*token) {
                Ok(byte) => vec![byte],
                Err(_) => " the".as_bytes().to_vec(),
            };
            String::from_utf8_lossy(&tokens.iter().flat_map(piece).collect::<Vec<u8>>()).into_owned()
        }
    }

    fn pieces(tokens: &[u32]) -> Vec<String> {
        let mut detokenizer = Detokenizer::default();
        let mut pieces: Vec<String> = tokens.iter().map(|token| detokenizer.push(*token, &Bytes)).collect();
        pieces.push(detokenizer.finish(&Bytes));
        pieces
    }

    #[test]
    fn a_character_is_told_when_it_is_whole() {
        let tokens: Vec<u32> = "aé€😀b".bytes().map(u32::from).collect();
        let told: Vec<String> = pieces(&tokens).into_iter().filter(|piece| !piece.is_empty()).collect();
        assert_eq!(told, ["a", "é", "€", "😀", "b"]);
    }

    #[test]
    fn what_is_no_character_is_told_in_the_end() {
        assert_eq!(pieces(&[0x61, 0xe2, 0x82]).concat(), "a\u{fffd}");
        assert!(pieces(&[0xff; 100]).iter().take(10).any(|piece| !piece.is_empty()));
    }

    proptest! {
        #[test]
        fn pieces_are_the_text(text in "[a-z \\u{a0}-\\u{fff0}\\u{10000}-\\u{10ffff}]{0,40}", the in prop::collection::vec(any::<bool>(), 200)) {
            let mut tokens = Vec::new();
            for (character, the) in text.chars().zip(the) {
                tokens.extend(character.to_string().bytes().map(u32::from));
                if the {
                    tokens.push(256);
                }
            }
            let pieces = pieces(&tokens);
            prop_assert_eq!(pieces.concat(), Bytes.decode(&tokens));
        }
    }
}
