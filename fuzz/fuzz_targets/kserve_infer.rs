//! The body of `POST /v2/models/{model}/infer`, with and without the binary-tensor extension.
//!
//! The first two bytes are the `Inference-Header-Content-Length`; 65535 stands for none.

#![no_main]

use bytes::Bytes;
use headland_server::parse_infer;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((length, body)) = input.split_first_chunk::<2>() else { return };
    let json_bytes = Some(u16::from_le_bytes(*length)).filter(|&length| length != u16::MAX).map(usize::from);
    let body = Bytes::copy_from_slice(body);
    if let Ok(request) = parse_infer(json_bytes, &body) {
        for input in &request.inputs {
            // What is accepted is a tensor: its bytes follow from its type and shape.
            let elements = input.tensor.shape().elements().expect("an accepted shape has a size");
            if let Some(size) = input.tensor.dtype().size() {
                assert_eq!(input.tensor.data().len(), elements * size);
            } else {
                assert_eq!(input.tensor.strings().expect("accepted BYTES are framed").len(), elements);
            }
        }
    }
});
