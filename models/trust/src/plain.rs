//! Foreign text in messages: what a terminal or a log would obey is spelled out, and what is endless is cut.

use std::fmt::{self, Write as _};

/// How many characters of a foreign text a message repeats.
const SHOWN_MAX: usize = 300;

/// Shows a foreign text harmlessly.
pub(crate) struct Plain<'a>(pub &'a str);

impl fmt::Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (shown, character) in self.0.chars().enumerate() {
            if shown == SHOWN_MAX {
                return f.write_char('…');
            }
            match character {
                '"' | '\'' | '\\' => f.write_char(character)?,
                _ => write!(f, "{}", character.escape_debug())?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_spelled_out() {
        let show = |text| Plain(text).to_string();
        assert_eq!(show("modèle/a b's \\ \"c\".bin"), "modèle/a b's \\ \"c\".bin");
        assert_eq!(show("\x1b[2J\n\0\u{202e}x"), "\\u{1b}[2J\\n\\0\\u{202e}x");
    }

    #[test]
    fn what_is_endless_is_cut() {
        let shown = Plain(&"é".repeat(10_000)).to_string();
        assert_eq!(shown.chars().count(), SHOWN_MAX + 1);
        assert!(shown.ends_with('…'));
    }
}
