//! Frames are read back however they are cut on the way; what is none is refused, whoever sent it.

use headland_nn_core::Tensor;
use proptest::prelude::*;

use super::super::WireError;
use super::*;

fn outputs(text: &str) -> Vec<NamedTensor> {
    let of = |name: &str, text: &str| NamedTensor::new(name, Tensor::from_strings([1], &[text]).unwrap());
    let floats = Tensor::from_vec([3], vec![1.0f32, 2.0, f32::NAN]).unwrap();
    vec![of("text", text), of("finish_reason", ""), NamedTensor::new("odd", floats)]
}

fn body() -> Vec<u8> {
    let pieces = ["Hé", "", "llo"].map(|text| encode_piece(&outputs(text)));
    [pieces.concat(), encode_end(Ok(())).to_vec()].concat()
}

/// Everything in `body`, of which `cut` bytes come at a time.
fn read(body: &[u8], cut: usize) -> Result<Vec<Piece>, WireError> {
    let (mut reader, mut pieces) = (PieceReader::default(), Vec::new());
    for part in body.chunks(cut) {
        reader.push(part);
        while let Some(piece) = reader.piece()? {
            pieces.push(piece);
        }
    }
    Ok(pieces)
}

#[test]
fn pieces_are_read_back_however_they_are_cut() {
    for cut in [1, 3, 7, 64, 1 << 20] {
        let pieces = read(&body(), cut).unwrap();
        let told: Vec<_> = pieces
            .iter()
            .filter_map(|piece| match piece {
                Piece::Outputs(outputs) => Some(outputs[0].tensor.strings().unwrap()[0].to_vec()),
                Piece::Ended | Piece::Failed(_) => None,
            })
            .collect();
        assert_eq!(told.concat(), "Héllo".as_bytes());
        assert!(matches!(pieces[..], [_, _, _, Piece::Ended]), "{cut}");
    }
}

#[test]
fn an_error_is_the_end() {
    let mut body = encode_piece(&outputs("a")).to_vec();
    body.extend_from_slice(&encode_end(Err(&NnError::DeadlineExceeded { model: "m".into() })));
    let pieces = read(&body, 5).unwrap();
    assert!(
        matches!(&pieces[1], Piece::Failed(Refused::Failed(NnError::DeadlineExceeded { model })) if &**model == "m")
    );
    body.push(0);
    assert_eq!(read(&body, 1 << 20).unwrap_err(), WireError::Trailing(1));
}

#[test]
fn a_piece_that_is_too_long_is_refused_before_it_has_come_and_not_sent() {
    let said = u32::try_from(PIECE_BYTES_MAX + 1).unwrap().to_le_bytes();
    assert_eq!(read(&said, 4).unwrap_err(), WireError::PieceTooLong(PIECE_BYTES_MAX + 1));
    let long = NamedTensor::new("text", Tensor::from_vec([PIECE_BYTES_MAX], vec![0u8; PIECE_BYTES_MAX]).unwrap());
    let pieces = read(&encode_piece(&[long]), 1 << 20).unwrap();
    assert!(matches!(&pieces[..], [Piece::Failed(Refused::Failed(NnError::TooLarge(_)))]), "{pieces:?}");
}

#[test]
fn frames_that_are_none_are_refused() {
    let framed = |frame: &[u8]| [&u32::try_from(frame.len()).unwrap().to_le_bytes(), frame].concat();
    let headed = |head: &str, after: &[u8]| {
        let length = u32::try_from(head.len()).unwrap().to_le_bytes();
        framed(&[&length, head.as_bytes(), after].concat())
    };
    for (body, why) in [
        (framed(&[]), "an empty frame"),
        (framed(&[255; 8]), "a head that is too long"),
        (headed("{}", &[]), "a head that says nothing"),
        (headed(r#"{"ended": false}"#, &[]), "an end that is none"),
        (headed(r#"{"ended": true}"#, &[0; 64]), "bytes after an end"),
        (headed(r#"{"error": {"kind": "tired"}}"#, &[]), "an unknown error"),
        (
            headed(r#"{"outputs": [{"name": "x", "dtype": "UINT8", "shape": [9], "bytes": 9}]}"#, &[]),
            "a tensor that is cut",
        ),
        (
            headed(
                r#"{"outputs": [{"name": "x", "dtype": "UINT8", "shape": [9], "bytes": 18446744073709551615}]}"#,
                &[0; 9],
            ),
            "one that lies",
        ),
        (headed(r#"{"outputs": []}"#, &[0; 64]), "bytes that nothing announces"),
    ] {
        assert!(read(&body, 1 << 20).is_err(), "{why} was read");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), length in 0u32..300, cut in 1usize..50) {
        let body = [&length.to_le_bytes(), &bytes[..]].concat();
        let _ = read(&body, cut);
    }

    #[test]
    fn a_changed_byte_is_noticed_or_harmless(at in any::<prop::sample::Index>(), flip in 1u8..) {
        let mut body = body();
        let at = at.index(body.len());
        body[at] ^= flip;
        for piece in read(&body, 16).into_iter().flatten() {
            let Piece::Outputs(outputs) = piece else { continue };
            prop_assert!(outputs.iter().all(|output| output.tensor.shape().elements().is_some()));
        }
    }
}
