//! What was written is read again, every type of tensor and every error; what is nonsense is refused.

use std::time::Duration;

use bytes::Bytes;
use headland_batcher::{Answer, Cached, Caller, Inputs, TextUsage, Timing};
use headland_nn_core::{Busy, DType, NamedTensor, NnError, Tensor};
use headland_package::Sha256Digest;
use proptest::prelude::*;

use super::*;

fn request(inputs: Inputs) -> InferRequest {
    InferRequest {
        model: "minilm".parse().unwrap(),
        version: "2.1".parse().unwrap(),
        digest: Sha256Digest::of(b"minilm"),
        inputs,
        outputs: vec!["a \"quoted\" name".to_owned()],
        caller: Caller { name: "app".into(), weight: 7 },
        priority: 3,
        deadline: Some(Duration::from_micros(1_500_001)),
        attempt: 2,
        stream: true,
    }
}

/// A tensor of each type: some are empty, some are not aligned when they come one after the other.
fn one_of_each() -> Vec<NamedTensor> {
    let of = |(at, dtype): (usize, DType)| {
        let tensor = match dtype.size() {
            Some(size) => Tensor::new(dtype, [at], vec![at as u8; at * size].into()),
            None => Tensor::from_strings([2], &["", "héllo"]),
        };
        NamedTensor::new(format!("t{at}"), tensor.unwrap())
    };
    DType::ALL.into_iter().enumerate().map(of).collect()
}

fn tensors(request: &InferRequest) -> &[NamedTensor] {
    match &request.inputs {
        Inputs::Tensors(tensors) => tensors,
        Inputs::Tokens(_) => panic!("these are tokens"),
    }
}

#[test]
fn a_request_of_every_type_is_read_back_as_views_of_the_body() {
    let sent = request(one_of_each().into());
    let body = sent.encode().unwrap().into_bytes();
    let read = InferRequest::decode(body.clone()).unwrap();
    assert_eq!(tensors(&read), tensors(&sent));
    for input in tensors(&read).iter().filter(|input| !input.tensor.data().is_empty()) {
        let at = input.tensor.data().as_ptr() as usize - body.as_ptr() as usize;
        assert!(at < body.len() && at.is_multiple_of(ALIGNMENT), "{} lies at {at}", input.name);
    }
    assert_eq!((&read.model, &read.version, read.digest), (&sent.model, &sent.version, sent.digest));
    assert_eq!((&*read.caller.name, read.caller.weight, read.priority), ("app", 7, 3));
    assert_eq!((read.deadline, read.attempt, read.stream, read.outputs), (sent.deadline, 2, true, sent.outputs));
}

#[test]
fn token_lists_are_read_back() {
    let lists = vec![vec![1, 2, 3], vec![], vec![u32::MAX]];
    let body = request(Inputs::Tokens(lists.clone())).encode().unwrap().into_bytes();
    let Inputs::Tokens(read) = InferRequest::decode(body).unwrap().inputs else { panic!("no tokens") };
    assert_eq!(read, lists);
}

#[test]
fn an_answer_is_read_back() {
    let sent = Answer {
        outputs: one_of_each(),
        text: Some(TextUsage { tokens: 9, truncated: vec![1, 4], max_sequence_length: 256 }),
        timing: Timing { queue: Duration::from_micros(5), infer: Duration::from_millis(3), ..Timing::default() },
        cache: Some(Cached::Miss),
    };
    let read = decode_response(encode_answer(&sent).into_bytes()).unwrap().unwrap();
    assert_eq!((&read.outputs, &read.text, read.cache), (&sent.outputs, &sent.text, sent.cache));
    assert_eq!((read.timing.queue, read.timing.infer), (sent.timing.queue, sent.timing.infer));
}

#[test]
fn every_error_is_restored() {
    let busy = |reason| NnError::Overloaded { model: "m".into(), reason, retry_after: Duration::from_micros(1_234) };
    for error in [
        NnError::invalid("input `x` is \"FP32\""),
        NnError::TooLarge("a batch of 9".into()),
        busy(Busy::QueueFull { queue_max: 256 }),
        busy(Busy::WouldBeLate { wait_ms: 77 }),
        NnError::DeadlineExceeded { model: "m".into() },
        NnError::ShuttingDown { model: "m".into() },
        NnError::unreachable("m", "fra2: refused"),
        NnError::BrokenOff { model: "m".into(), why: "fra2: reset".into() },
        NnError::DeviceUnavailable("no cuda:3".into()),
        NnError::bad_model("config.json: no"),
        NnError::runtime("it broke"),
    ] {
        let body = encode_refusal(&Refused::Failed(error.clone())).into_bytes();
        let Err(Refused::Failed(restored)) = decode_response(body).unwrap() else { panic!("{error} got lost") };
        assert_eq!(format!("{restored:?}"), format!("{error:?}"));
    }
    let body = encode_refusal(&Refused::NotHere("never heard of it".to_owned())).into_bytes();
    assert!(matches!(decode_response(body).unwrap(), Err(Refused::NotHere(message)) if message == "never heard of it"));
}

#[test]
fn a_field_of_a_newer_build_is_ignored() {
    let body = request(Inputs::default()).encode().unwrap().into_bytes();
    let length = u32::from_le_bytes(*body.first_chunk::<4>().unwrap()) as usize;
    let head = std::str::from_utf8(&body[4..4 + length]).unwrap();
    let newer = head.replacen('{', r#"{"colour": ["blue"], "#, 1);
    let mut body = u32::try_from(newer.len()).unwrap().to_le_bytes().to_vec();
    body.extend_from_slice(newer.as_bytes());
    assert_eq!(InferRequest::decode(body.into()).unwrap().attempt, 2);
}

#[test]
fn what_is_cut_or_goes_on_is_refused() {
    let body = request(one_of_each().into()).encode().unwrap().into_bytes();
    for length in (0..body.len()).step_by(3) {
        assert!(InferRequest::decode(body.slice(..length)).is_err(), "cut to {length} of {}", body.len());
    }
    let mut longer = body.to_vec();
    longer.extend_from_slice(&[0; ALIGNMENT]);
    assert!(matches!(InferRequest::decode(longer.into()), Err(WireError::Trailing(_))));
}

#[test]
fn bytes_that_contradict_the_head_are_refused() {
    let head = |inputs: &str, more: &str| {
        let head = format!(
            r#"{{"model":"m","version":"1","digest":"{}","inputs":[{inputs}],"caller":"","weight":1{more}}}"#,
            Sha256Digest::of(b"m")
        );
        let mut body = u32::try_from(head.len()).unwrap().to_le_bytes().to_vec();
        body.extend_from_slice(head.as_bytes());
        body.resize(body.len().next_multiple_of(ALIGNMENT), 0);
        body.extend_from_slice(&[1, 0, 0, 0, 2, 0, 0, 0]);
        InferRequest::decode(body.into())
    };
    let input = r#"{"name":"x","dtype":"UINT32","shape":[2],"bytes":8}"#;
    assert!(head(input, "").is_ok());
    for (inputs, more) in [
        (input.replace("[2]", "[3]"), ""),
        (input.replace("[2]", "[4294967296,4294967296,2]"), ""),
        (input.replace("UINT32", "WORDS"), ""),
        (input.replace("UINT32", "BYTES"), ""),
        (input.replace("\"bytes\":8", "\"bytes\":18446744073709551615"), ""),
        (input.replace("\"bytes\":8", "\"bytes\":4"), ""),
        (input.to_owned(), r#","tokens":[3]"#),
        (input.to_owned(), r#","tokens":[1]"#),
        (input.to_owned(), r#","tokens":[18446744073709551615,3]"#),
        (input.replace("UINT32", "INT32"), r#","tokens":[2]"#),
    ] {
        assert!(head(&inputs, more).is_err(), "{inputs} {more}");
    }
    assert!(matches!(InferRequest::decode(Bytes::from_static(&[255; 8])), Err(WireError::HeadTooLong(_))));
}

proptest! {
    #[test]
    fn no_bytes_make_a_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), length in 0u32..200) {
        let mut body = length.to_le_bytes().to_vec();
        body.extend_from_slice(&bytes);
        let body = Bytes::from(body);
        let _ = InferRequest::decode(body.clone());
        let _ = decode_response(body.clone());
        let _ = decode_description(&body);
    }

    #[test]
    fn a_changed_byte_is_noticed_or_harmless(at in any::<prop::sample::Index>(), flip in 1u8..) {
        let mut body = request(one_of_each().into()).encode().unwrap().into_bytes().to_vec();
        let at = at.index(body.len());
        body[at] ^= flip;
        if let Ok(read) = InferRequest::decode(body.into()) {
            for input in tensors(&read) {
                prop_assert!(input.tensor.shape().elements().is_some());
            }
        }
    }
}
