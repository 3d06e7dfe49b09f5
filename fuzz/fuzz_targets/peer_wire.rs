//! What PoPs send each other: inferences, their answers, and descriptions of models. The first byte says which.

#![no_main]

use bytes::Bytes;
use headland_batcher::Inputs;
use headland_nn_core::NamedTensor;
use headland_remote::wire::{InferRequest, decode_description, decode_response, encode_answer};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((kind, body)) = input.split_first() else { return };
    let body = Bytes::copy_from_slice(body);
    match kind % 3 {
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
        _ => drop(decode_description(&body)),
    }
});

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
