//! [`Head`]: the beginning of a call that is an object, up to the name of what it calls.
//!
//! From there on an answer is a call. Who holds answers to their form and who reads calls in them must agree on where that is,
//! so both ask here.

use crate::Tool;

/// Bytes of space at a place of a call where there may be any.
pub(crate) const SPACE_MAX: usize = 8;
const SPACE: [u8; 4] = *b" \t\r\n";

/// What a text is, as the beginning of `{"name": "…"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Head {
    /// It may become one.
    Unfinished,
    /// It is none.
    Other,
    /// It is one.
    Of {
        /// Which of the tools it names.
        tool: usize,
        /// Its bytes, up to and with the name's closing quotes.
        bytes: usize,
    },
}

impl Head {
    /// Reads the beginning of `text`. A name is written as it is, without escapes.
    pub fn read(text: &[u8], tools: &[Tool]) -> Self {
        fn read(text: &[u8], tools: &[Tool]) -> Result<Head, Head> {
            let mut rest = text;
            for part in ["{", "\"name\"", ":"] {
                rest = after(rest, part)?;
            }
            let mut otherwise = Head::Other;
            for (tool, Tool { name, .. }) in tools.iter().enumerate() {
                match after(rest, &format!("\"{name}\"")) {
                    Ok(rest) => return Ok(Head::Of { tool, bytes: text.len() - rest.len() }),
                    Err(Head::Unfinished) => otherwise = Head::Unfinished,
                    Err(_) => {}
                }
            }
            Err(otherwise)
        }
        read(text, tools).unwrap_or_else(|head| head)
    }
}

/// What follows `part`, which may have space before it.
fn after<'t>(text: &'t [u8], part: &str) -> Result<&'t [u8], Head> {
    let spaces = text.iter().take_while(|byte| SPACE.contains(byte)).count();
    let rest = &text[spaces..];
    match rest.strip_prefix(part.as_bytes()) {
        _ if spaces > SPACE_MAX => Err(Head::Other),
        Some(rest) => Ok(rest),
        None if part.as_bytes().starts_with(rest) => Err(Head::Unfinished),
        None => Err(Head::Other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_known_by_the_name_it_begins_with() {
        let tools = ["now", "now_there"].map(|name| Tool { name: name.to_owned(), parameters: None });
        let read = |text: &str| Head::read(text.as_bytes(), &tools);
        assert_eq!(read(r#"{"name": "now", "arg"#), Head::Of { tool: 0, bytes: 14 });
        assert_eq!(read("\n{\n \"name\" :\"now_there\""), Head::Of { tool: 1, bytes: 23 });
        for unfinished in ["", " ", "{", "{\"na", "{\"name\"", "{\"name\": ", "{\"name\": \"no", "{\"name\": \"now"] {
            assert_eq!(read(unfinished), Head::Unfinished, "{unfinished}");
        }
        for other in ["[", "{\"nam_", "{\"name\": 3", "{\"name\": \"nowhere", "{\"n\\u0061me\": \"now\"", "         {"]
        {
            assert_eq!(read(other), Head::Other, "{other}");
        }
    }
}
