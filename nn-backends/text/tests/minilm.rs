//! The tokenizer of all-MiniLM-L6-v2 against what sentence-transformers makes of the same sentences.

use std::path::PathBuf;

use headland_nn_core::{DType, Dim, NnError, Signature, Tensor, TensorSpec};
use headland_package::folder;
use headland_text::{Encoded, TextEncoder};
use serde::Deserialize;

#[derive(Deserialize)]
struct Goldens {
    max_seq_length: usize,
    goldens: Vec<Golden>,
}

#[derive(Deserialize)]
struct Golden {
    sentence: String,
    input_ids: Vec<i64>,
}

fn goldens() -> Goldens {
    let path = PathBuf::from("../../test-data/embeddings/minilm.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn minilm_dir() -> PathBuf {
    std::env::var_os("HEADLAND_CACHE")
        .map_or_else(|| PathBuf::from("../../.cache"), PathBuf::from)
        .join("models/all-minilm-l6-v2")
}

/// The encoder, or `None` (and a printed reason) on a machine that has not fetched the model.
fn minilm() -> Option<TextEncoder> {
    let dir = minilm_dir();
    let encoder = dir.exists().then(|| TextEncoder::open(&folder::open(&dir).unwrap()).unwrap()).flatten();
    if encoder.is_none() {
        assert!(
            std::env::var_os("REQUIRE_MODELS").is_none(),
            "REQUIRE_MODELS is set and {} is not there",
            dir.display()
        );
        eprintln!("skipped: {} is not there; scripts/fetch.sh brings it", dir.display());
    }
    encoder
}

fn rows(tensor: &Tensor) -> Vec<Vec<i64>> {
    let values = tensor.to_slice::<i64>().unwrap();
    values.chunks(tensor.shape()[1]).map(<[i64]>::to_vec).collect()
}

/// The three tensors that BERT takes: ids, mask, segments.
fn tensors(encoded: &Encoded) -> [Tensor; 3] {
    let spec = |name| TensorSpec::new(name, DType::I64, vec![Dim::Dynamic(None); 2]);
    let inputs = ["input_ids", "attention_mask", "token_type_ids"].map(spec).into();
    let inputs = encoded.inputs(&Signature { inputs, outputs: vec![] }).unwrap();
    let tensors: Vec<Tensor> = inputs.into_iter().map(|input| input.tensor).collect();
    tensors.try_into().unwrap()
}

fn ids(encoded: &Encoded) -> Vec<Vec<i64>> {
    let [ids, masks, _] = tensors(encoded);
    let masks = rows(&masks);
    let real = |(row, mask): (Vec<i64>, Vec<i64>)| row[..mask.iter().sum::<i64>() as usize].to_vec();
    rows(&ids).into_iter().zip(masks).map(real).collect()
}

#[test]
fn token_ids_are_those_of_sentence_transformers_alone_and_batched() {
    let Some(encoder) = minilm() else { return };
    let goldens = goldens();
    assert_eq!(encoder.max_sequence_length(), goldens.max_seq_length);
    for golden in &goldens.goldens {
        assert_eq!(ids(&encoder.encode(&[&golden.sentence]).unwrap()), [&*golden.input_ids], "{:?}", golden.sentence);
    }
    let sentences: Vec<&str> = goldens.goldens.iter().map(|golden| &*golden.sentence).collect();
    let batch = encoder.encode(&sentences).unwrap();
    let expected: Vec<Vec<i64>> = goldens.goldens.iter().map(|golden| golden.input_ids.clone()).collect();
    assert_eq!(ids(&batch), expected);
    assert_eq!(&**tensors(&batch)[0].shape(), [sentences.len(), 256]);
    assert_eq!(batch.tokens(), expected.iter().map(Vec::len).sum::<usize>());
    assert_eq!(batch.truncated(), [13, 14]);
}

#[test]
fn padding_goes_to_the_longest_of_the_batch_and_no_further() {
    let Some(encoder) = minilm() else { return };
    let encoded = encoder.encode(&["hello", "hello world"]).unwrap();
    let [ids, mask, types] = tensors(&encoded);
    assert_eq!(rows(&ids), [[101, 7592, 102, 0], [101, 7592, 2088, 102]]);
    assert_eq!(rows(&mask), [[1, 1, 1, 0], [1, 1, 1, 1]]);
    assert_eq!(rows(&types), [[0; 4], [0; 4]]);
    assert_eq!((encoded.tokens(), encoded.truncated().len()), (7, 0));
}

#[test]
fn a_text_tensor_and_the_texts_agree() {
    let Some(encoder) = minilm() else { return };
    let expected = ids(&encoder.encode(&["hello", "hello world"]).unwrap());
    let bytes = Tensor::from_strings([2], &["hello", "hello world"]).unwrap();
    let padded = Tensor::from_vec([2, 11], b"hello\0\0\0\0\0\0hello world".to_vec()).unwrap();
    let one = Tensor::from_vec([5], b"hello".to_vec()).unwrap();
    assert_eq!(ids(&encoder.from_text_tensor(&bytes).unwrap()), expected);
    assert_eq!(ids(&encoder.from_text_tensor(&padded).unwrap()), expected);
    assert_eq!(ids(&encoder.from_text_tensor(&one).unwrap()), expected[..1]);
}

#[test]
fn token_ids_are_framed_once_cut_and_checked() {
    let Some(encoder) = minilm() else { return };
    let encoded = encoder.from_token_ids(&[vec![7592], vec![101, 7592, 102], vec![], vec![7592; 300]]).unwrap();
    let rows = ids(&encoded);
    assert_eq!(rows[..3], [vec![101, 7592, 102], vec![101, 7592, 102], vec![101, 102]]);
    assert_eq!((rows[3].len(), rows[3][255], &*encoded.truncated()), (256, 102, &[3][..]));
    let error = encoder.from_token_ids(&[vec![7592], vec![30522]]).unwrap_err();
    assert!(matches!(error, NnError::InvalidInput(_)), "{error:?}");
    assert!(error.to_string().starts_with("token id 30522 in sequence 1 is outside the model's vocabulary of 30522"));
}

#[test]
fn cutting_a_long_text_early_changes_no_token() {
    let Some(encoder) = minilm() else { return };
    let words =
        ["harbour ", "lights", "\u{301} ", "边缘", "[SEP]", "\u{0}\u{0}\u{0}", " \n\t ", "don't", "İ", "👩‍💻", "x"];
    let mut tokenizer = tokenizers::Tokenizer::from_file(minilm_dir().join("tokenizer.json")).unwrap();
    tokenizer.with_truncation(None).unwrap().with_padding(None);
    let mut seed = 7u64;
    for round in 0..60 {
        let mut text = String::new();
        while text.len() < 3_000 + round * 400 {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            text.push_str(words[(seed >> 33) as usize % words.len()]);
        }
        let whole = tokenizer.encode(&*text, false).unwrap().get_ids().to_vec();
        let expected = ids(&encoder.from_token_ids(&[whole]).unwrap());
        assert_eq!(ids(&encoder.encode(&[&text]).unwrap()), expected, "round {round}");
    }
    let endless_word = "x".repeat(100_000);
    assert_eq!(ids(&encoder.encode(&[&endless_word]).unwrap()), [[101, 100, 102]]);
    let vanishing = format!("{}hello", "\u{1}".repeat(100_000));
    assert_eq!(ids(&encoder.encode(&[&vanishing]).unwrap()), [[101, 7592, 102]]);
}

#[test]
fn a_megabyte_of_text_costs_little_more_than_its_first_kilobytes() {
    let Some(encoder) = minilm() else { return };
    let book = "the quick brown fox jumps over the lazy dog ".repeat(25_000);
    let start = &book[..8_000];
    let time = |text: &str| {
        let begun = std::time::Instant::now();
        encoder.encode(&[text]).unwrap();
        begun.elapsed()
    };
    let least = |text: &str| (0..5).map(|_| time(text)).min().unwrap();
    let (short, long) = (least(start), least(&book));
    eprintln!("8 kB: {short:?}, 1.1 MB: {long:?}");
    assert!(long < short * 10, "8 kB took {short:?}, 1.1 MB took {long:?}");
}

#[test]
fn no_texts_and_too_many_are_refused() {
    let Some(encoder) = minilm() else { return };
    assert!(matches!(encoder.encode(&[]), Err(NnError::InvalidInput(_))));
    assert!(matches!(encoder.encode(&["a"; 2049]), Err(NnError::TooLarge(_))));
    assert_eq!(encoder.encode(&["a"; 2048]).unwrap().tokens(), 3 * 2048);
}

#[test]
fn requests_are_tokenised_on_the_callers_thread() {
    let Some(encoder) = minilm() else { return };
    let encode = || encoder.encode(&["one text"; 64]).unwrap().tokens();
    std::thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(encode))));
    assert!(!tokenizers::utils::parallelism::has_parallelism_been_used());
}

#[test]
fn a_folder_without_a_tokenizer_has_none_and_a_broken_one_is_named() {
    let dir = tempfile::tempdir().unwrap();
    assert!(TextEncoder::open(&folder::open(dir.path()).unwrap()).unwrap().is_none());
    std::fs::write(dir.path().join("tokenizer.json"), "{").unwrap();
    let message = TextEncoder::open(&folder::open(dir.path()).unwrap()).err().unwrap().to_string();
    assert!(message.contains("tokenizer.json: EOF while parsing"), "{message}");
}
