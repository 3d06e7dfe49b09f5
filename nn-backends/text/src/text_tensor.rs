//! The `text` tensor in its three forms, read back into strings.

use headland_nn_core::{DType, NnError, Tensor};

use crate::{MAX_TEXTS, TEXT_INPUT};

/// The texts in `tensor`: BYTES of rank 0 to 2 (one text an element), or, for guests whose interface has no BYTES, U8
/// `[length]` (one text) or U8 `[texts, length]`. NUL bytes at the end of a U8 row are padding, not text.
pub(crate) fn texts(tensor: &Tensor) -> Result<Vec<&str>, NnError> {
    let rows: Vec<&[u8]> = match (tensor.dtype(), &**tensor.shape()) {
        (DType::Bytes, shape) if shape.len() <= 2 => {
            check_count(shape.iter().product())?;
            tensor.strings()?
        }
        (DType::U8, [_]) => vec![without_padding(tensor.data())],
        (DType::U8, &[count, length]) => {
            check_count(count)?;
            let row = |index: usize| without_padding(&tensor.data()[index * length..(index + 1) * length]);
            (0..count).map(row).collect()
        }
        (dtype, _) => {
            return Err(NnError::invalid(format!(
                "input `{TEXT_INPUT}` is {dtype}{}; it may be BYTES[texts], UINT8[length] (one text) or \
                 UINT8[texts,length] (padded with NUL bytes)",
                tensor.shape()
            )));
        }
    };
    rows.into_iter().enumerate().map(|(index, row)| utf8(index, row)).collect()
}

/// Refuses no texts and too many.
pub(crate) fn check_count(count: usize) -> Result<(), NnError> {
    match count {
        0 => Err(NnError::invalid("there is no text to encode; send at least one")),
        1..=MAX_TEXTS => Ok(()),
        _ => Err(NnError::TooLarge(
            format!("{count} texts in one request; at most {MAX_TEXTS} are taken, so split them over several").into(),
        )),
    }
}

fn without_padding(row: &[u8]) -> &[u8] {
    let end = row.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    &row[..end]
}

fn utf8(index: usize, row: &[u8]) -> Result<&str, NnError> {
    std::str::from_utf8(row).map_err(|error| {
        NnError::invalid(format!("text {index} is not UTF-8: byte {} cannot be decoded", error.valid_up_to()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_of_any_rank_up_to_two_are_texts() {
        for shape in [vec![2], vec![2, 1], vec![1, 2]] {
            let tensor = Tensor::from_strings(shape, &["a", "grüße"]).unwrap();
            assert_eq!(texts(&tensor).unwrap(), ["a", "grüße"]);
        }
        let scalar = Tensor::from_strings(Vec::new(), &["one"]).unwrap();
        assert_eq!(texts(&scalar).unwrap(), ["one"]);
    }

    #[test]
    fn u8_rows_lose_their_nul_padding() {
        let one = Tensor::from_vec([4], b"hi\0\0".to_vec()).unwrap();
        assert_eq!(texts(&one).unwrap(), ["hi"]);
        let two = Tensor::from_vec([2, 3], b"a\0b\0\0\0".to_vec()).unwrap();
        assert_eq!(texts(&two).unwrap(), ["a\0b", ""]);
        let empty = Tensor::from_vec([2, 0], Vec::<u8>::new()).unwrap();
        assert_eq!(texts(&empty).unwrap(), ["", ""]);
    }

    #[test]
    fn what_is_not_utf8_is_named_by_its_index() {
        let tensor = Tensor::from_strings([2], &[b"ok".as_slice(), b"ab\xff"]).unwrap();
        assert_eq!(texts(&tensor).unwrap_err().to_string(), "text 1 is not UTF-8: byte 2 cannot be decoded");
    }

    #[test]
    fn another_type_or_rank_is_refused_with_the_three_forms() {
        let message = texts(&Tensor::from_vec([1], vec![1i64]).unwrap()).unwrap_err().to_string();
        assert!(message.starts_with("input `text` is INT64[1]; it may be BYTES[texts]"), "{message}");
        assert!(texts(&Tensor::from_vec([1, 1, 1], vec![1u8]).unwrap()).is_err());
    }

    #[test]
    fn a_shape_of_countless_empty_rows_is_refused_before_anything_is_allocated() {
        let tensor = Tensor::from_vec([usize::MAX, 0], Vec::<u8>::new()).unwrap();
        assert!(matches!(texts(&tensor), Err(NnError::TooLarge(_))));
        let none = Tensor::from_vec([0, 7], Vec::<u8>::new()).unwrap();
        assert!(matches!(texts(&none), Err(NnError::InvalidInput(_))));
    }
}
