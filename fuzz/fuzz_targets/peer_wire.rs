//! What PoPs send each other: inferences, their answers, whole and in pieces, and descriptions of models. The first byte says
//! which.

#![no_main]

use bytes::Bytes;
use headland_batcher::Inputs;
use headland_nn_core::NamedTensor;
use headland_remote::wire::{
    InferRequest, Piece, PieceReader, decode_description, decode_response, encode_answer, encode_piece,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((kind, body)) = input.split_first() else { return };
    let body = Bytes::copy_from_slice(body);
    match kind % 4 {
        0 => {
            let Ok(request) = InferRequest::decode(body) else { return };
            if let Inputs::Tensors(inputs) = &request.inputs {
                sound(inputs);
            }
            // What was accepted once is accepted again, and says the same.
            let again = request.encode().expect("what was read can be written").into_bytes();
            let again = InferRequest::decode(again).expect("what was written can be read");
            assert_eq!((again.digest, again.outputs, again.deadline), (request.digest, request.outputs, request.deadline));
        }
        1 => {
            let Ok(Ok(answer)) = decode_response(body) else { return };
            sound(&answer.outputs);
            let again = decode_response(encode_answer(&answer).into_bytes());
            let again = again.expect("what was written can be read").expect("an answer stays one");
            assert_eq!(again.outputs, answer.outputs);
        }
        2 => drop(decode_description(&body)),
        _ => {
            let (all, parts) = (pieces(&body, body.len().max(1)), pieces(&body, 1 + usize::from(kind / 4)));
            assert_eq!(all, parts, "the same, however it was cut on the way");
        }
    }
});

/// The outputs in a body of which so many bytes come at a time, up to its end or to what is wrong with it.
fn pieces(body: &[u8], cut: usize) -> Vec<Vec<NamedTensor>> {
    let (mut reader, mut all) = (PieceReader::default(), Vec::new());
    for part in body.chunks(cut) {
        reader.push(part);
        loop {
            match reader.piece() {
                Ok(Some(Piece::Outputs(outputs))) => {
                    sound(&outputs);
                    let mut again = PieceReader::default();
                    again.push(&encode_piece(&outputs));
                    let again = again.piece().expect("what was written can be read");
                    assert!(matches!(again, Some(Piece::Outputs(again)) if again == outputs));
                    all.push(outputs);
                }
                Ok(Some(Piece::Ended | Piece::Failed(_))) => {}
                Ok(None) => break,
                Err(_) => return all,
            }
        }
    }
    all
}

/// What is accepted is a tensor: its bytes follow from its type and shape.
fn sound(tensors: &[NamedTensor]) {
    for NamedTensor { tensor, .. } in tensors {
        let elements = tensor.shape().elements().expect("an accepted shape has a size");
        match tensor.dtype().size() {
            Some(size) => assert_eq!(tensor.data().len(), elements * size),
            None => assert_eq!(tensor.strings().expect("accepted BYTES are framed").len(), elements),
        }
    }
}
