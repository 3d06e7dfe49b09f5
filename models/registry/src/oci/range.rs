//! The ranges of HTTP: `Range` of a blob that is read ([RFC 9110](https://www.rfc-editor.org/rfc/rfc9110#section-14)), and
//! `Content-Range` of a chunk that is uploaded (the distribution specification's form, without `bytes `).

use std::ops::Range;

/// What part of a blob to send.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// All of it: no range was asked for, or one that may be ignored (several at once, another unit, nonsense).
    Whole,
    /// These bytes.
    Bytes(Range<u64>),
    /// None of the bytes asked for exist.
    Unsatisfiable,
}

/// Which part of `size` bytes the header asks for.
pub(super) fn requested(header: &str, size: u64) -> Part {
    let Some((first, last)) = header.strip_prefix("bytes=").and_then(|range| range.trim().split_once('-')) else {
        return Part::Whole;
    };
    match (number(first), number(last)) {
        (Some(first), Some(last)) if first > last => Part::Whole,
        (Some(first), _) if first >= size && is_number_or_empty(last) => Part::Unsatisfiable,
        (Some(first), Some(last)) => Part::Bytes(first..last.saturating_add(1).min(size)),
        (Some(first), None) if last.is_empty() => Part::Bytes(first..size),
        (None, Some(suffix)) if first.is_empty() && (suffix == 0 || size == 0) => Part::Unsatisfiable,
        (None, Some(suffix)) if first.is_empty() => Part::Bytes(size.saturating_sub(suffix)..size),
        _ => Part::Whole,
    }
}

fn is_number_or_empty(text: &str) -> bool {
    text.is_empty() || number(text).is_some()
}

/// Digits as a number; more than a u64 holds is as good as its largest.
fn number(digits: &str) -> Option<u64> {
    let all_digits = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    all_digits.then(|| digits.parse().unwrap_or(u64::MAX))
}

/// The bytes a chunk says it is: `0-99` are the first hundred.
pub(super) fn of_chunk(header: &str) -> Option<Range<u64>> {
    let range = header.strip_prefix("bytes ").unwrap_or(header);
    let range = range.split_once('/').map_or(range, |(range, _total)| range);
    let (first, last) = range.split_once('-')?;
    let (first, end) = (number(first)?, number(last)?.checked_add(1)?);
    (first < end).then_some(first..end)
}

/// What has arrived of an upload, as `Range` tells it. Nothing at all is `0-0` too: the specification has no other word.
pub(super) fn arrived(bytes: u64) -> String {
    format!("0-{}", bytes.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_range_is_answered_with_its_bytes() {
        for (header, bytes) in [
            ("bytes=0-0", 0..1),
            ("bytes=2-5", 2..6),
            ("bytes=2-", 2..10),
            ("bytes=2-99999999999999999999999", 2..10),
            ("bytes=-3", 7..10),
            ("bytes=-30", 0..10),
        ] {
            assert_eq!(requested(header, 10), Part::Bytes(bytes), "{header}");
        }
    }

    #[test]
    fn ranges_beyond_the_end_cannot_be_satisfied() {
        for header in ["bytes=10-", "bytes=10-20", "bytes=99999999999999999999999-", "bytes=-0"] {
            assert_eq!(requested(header, 10), Part::Unsatisfiable, "{header}");
        }
        assert_eq!(requested("bytes=0-0", 0), Part::Unsatisfiable);
        assert_eq!(requested("bytes=-1", 0), Part::Unsatisfiable);
    }

    #[test]
    fn ranges_that_make_no_sense_are_ignored_as_rfc_9110_allows() {
        for header in
            ["", "bytes", "bytes=", "bytes=-", "bytes=5-2", "bytes=a-b", "bytes=0-1,3-4", "lines=0-1", "bytes=+1-2"]
        {
            assert_eq!(requested(header, 10), Part::Whole, "{header}");
        }
    }

    #[test]
    fn a_chunks_range_is_read_in_both_forms() {
        assert_eq!(of_chunk("0-99"), Some(0..100));
        assert_eq!(of_chunk("bytes 5-5/*"), Some(5..6));
        for header in ["", "5", "5-4", "-4", "5-", "a-b", "0-18446744073709551615", "0-99999999999999999999999"] {
            assert_eq!(of_chunk(header), None, "{header}");
        }
    }
}
