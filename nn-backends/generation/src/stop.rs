//! Strings that end an answer: found across the borders of pieces, and never told, not even their beginnings.

/// Stop strings of one request; OpenAI's limit is 4.
pub const STOPS_MAX: usize = 16;
/// Bytes of a stop string.
pub const STOP_BYTES_MAX: usize = 256;

/// Watches one answer for its stop strings.
#[derive(Clone, Debug, Default)]
pub struct StopWatch {
    stops: Vec<String>,
    /// What may be the beginning of a stop string.
    held: String,
}

/// What becomes of a piece.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watched {
    /// What can be told.
    pub text: String,
    /// Whether a stop string followed it.
    pub stopped: bool,
}

/// Stop strings that are too many, too long or empty.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadStop {
    /// Too many.
    #[error("`stop` has {0} strings; {STOPS_MAX} at most")]
    TooMany(usize),
    /// Too long.
    #[error("a string of `stop` has {0} bytes; {STOP_BYTES_MAX} at most")]
    TooLong(usize),
    /// Empty: it would stop every answer before its beginning.
    #[error("a string of `stop` is empty")]
    Empty,
}

impl StopWatch {
    /// For these strings.
    ///
    /// # Errors
    /// When they are not what they may be.
    pub fn new(stops: Vec<String>) -> Result<Self, BadStop> {
        if stops.len() > STOPS_MAX {
            return Err(BadStop::TooMany(stops.len()));
        }
        match stops.iter().map(String::len).find(|len| *len == 0 || *len > STOP_BYTES_MAX) {
            Some(0) => Err(BadStop::Empty),
            Some(len) => Err(BadStop::TooLong(len)),
            None => Ok(StopWatch { stops, held: String::new() }),
        }
    }

    /// Takes the next piece.
    pub fn push(&mut self, piece: &str) -> Watched {
        self.held.push_str(piece);
        if let Some(at) = self.stops.iter().filter_map(|stop| self.held.find(stop)).min() {
            self.held.truncate(at);
            return Watched { text: std::mem::take(&mut self.held), stopped: true };
        }
        let longest = self.stops.iter().map(|stop| unfinished(&self.held, stop)).max().unwrap_or(0);
        let kept = self.held.split_off(self.held.len() - longest);
        Watched { text: std::mem::replace(&mut self.held, kept), stopped: false }
    }

    /// What was held back, when the answer ends for another reason.
    pub fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }
}

/// Bytes at the end of `text` that `stop` begins with, not all of it.
fn unfinished(text: &str, stop: &str) -> usize {
    let lengths = (1..stop.len().min(text.len() + 1)).rev();
    lengths.filter(|len| stop.is_char_boundary(*len)).find(|len| text.ends_with(&stop[..*len])).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn told(stops: &[&str], pieces: &[&str]) -> (String, bool) {
        let mut watch = StopWatch::new(stops.iter().map(|stop| stop.to_string()).collect()).unwrap();
        let mut text = String::new();
        for piece in pieces {
            let watched = watch.push(piece);
            text += &watched.text;
            if watched.stopped {
                return (text, true);
            }
        }
        (text + &watch.finish(), false)
    }

    #[test]
    fn a_stop_string_is_found_across_pieces_and_not_told() {
        assert_eq!(told(&["\n\nUser:"], &["Hello", "\n", "\nUs", "er: hi"]), ("Hello".into(), true));
        assert_eq!(told(&["aab"], &["a", "a", "a", "b", "c"]), ("a".into(), true));
        assert_eq!(told(&["END"], &["the E", "N", "C"]), ("the ENC".into(), false));
        assert_eq!(told(&["END"], &["the EN"]), ("the EN".into(), false));
        assert_eq!(told(&["€"], &["5 ", "€", "!"]), ("5 ".into(), true));
    }

    #[test]
    fn the_earliest_stop_string_counts() {
        assert_eq!(told(&["c", "ab"], &["xabc"]), ("x".into(), true));
    }

    #[test]
    fn what_no_stop_string_may_be_is_refused() {
        let refused = |stops: Vec<String>| StopWatch::new(stops).unwrap_err();
        assert_eq!(refused(vec!["x".into(); 10_000]), BadStop::TooMany(10_000));
        assert_eq!(refused(vec!["x".repeat(257)]), BadStop::TooLong(257));
        assert_eq!(refused(vec![String::new()]), BadStop::Empty);
    }

    proptest! {
        #[test]
        fn it_does_not_matter_where_pieces_end(
            text in "[ab]{0,30}", stops in prop::collection::vec("[ab]{1,5}", 0..4), cuts in prop::collection::vec(1usize..6, 40)
        ) {
            let stops: Vec<&str> = stops.iter().map(String::as_str).collect();
            let (mut pieces, mut rest) = (Vec::new(), text.as_str());
            for cut in cuts {
                let (piece, after) = rest.split_at(cut.min(rest.len()));
                pieces.push(piece);
                rest = after;
            }
            // Letter by letter, the stop string that is whole first ends the answer.
            let letters: Vec<String> = text.chars().map(String::from).collect();
            let letters: Vec<&str> = letters.iter().map(String::as_str).collect();
            let (whole, stopped) = told(&stops, &pieces);
            let (one_by_one, stopped_too) = told(&stops, &letters);
            prop_assert_eq!(stopped, stopped_too);
            prop_assert!(one_by_one.starts_with(&whole) || whole.starts_with(&one_by_one));
            prop_assert!(stopped || whole == text);
            prop_assert!(stops.iter().all(|stop| !whole.contains(stop)));
        }
    }
}
