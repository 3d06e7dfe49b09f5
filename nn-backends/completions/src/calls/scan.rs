//! [`Scan`]: where an object in JSON ends, while it comes.

/// How deep in an object the text is that was seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Scan {
    depth: usize,
    in_text: bool,
    escaped: bool,
}

impl Scan {
    /// Inside an object, between its parts.
    pub fn inside() -> Self {
        Scan { depth: 1, ..Scan::default() }
    }

    /// Takes `text`: where in it the object has ended, if it has.
    pub fn take(&mut self, text: &str) -> Option<usize> {
        for (at, byte) in text.bytes().enumerate() {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' if self.in_text => self.escaped = true,
                b'"' => self.in_text = !self.in_text,
                _ if self.in_text => {}
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => {
                    self.depth = self.depth.saturating_sub(1);
                    if self.depth == 0 {
                        return Some(at + 1);
                    }
                }
                _ => {}
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_ends_where_its_braces_do() {
        for (text, end) in [
            ("{}", Some(2)),
            (r#"{"a": "}\"}", "b": [{}]} and"#, Some(24)),
            (r#"{"a": {"#, None),
            (r#"{"a": "}"#, None),
        ] {
            assert_eq!(Scan::default().take(text), end, "{text}");
            let mut scan = Scan::default();
            let ends =
                text.char_indices().find(|(at, letter)| scan.take(&text[*at..*at + letter.len_utf8()]).is_some());
            assert_eq!(ends.map(|(at, _)| at + 1), end, "{text}");
        }
        assert_eq!(Scan::inside().take(r#", "id": "}"}]"#), Some(12));
    }
}
