//! Heads of files, and what is wrong with them.

use proptest::prelude::*;

use super::*;

fn string(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
}

/// A file with one entry and one tensor of 2 by 32 elements of Q8_0.
fn file() -> Vec<u8> {
    let mut file = b"GGUF".to_vec();
    file.extend(3u32.to_le_bytes());
    file.extend(1u64.to_le_bytes());
    file.extend(1u64.to_le_bytes());
    file.extend([string("a.key"), 9u32.to_le_bytes().to_vec(), 8u32.to_le_bytes().to_vec()].concat());
    file.extend([2u64.to_le_bytes().to_vec(), string("x"), string("yz")].concat());
    file.extend([string("w"), 2u32.to_le_bytes().to_vec()].concat());
    file.extend([32u64, 2].map(u64::to_le_bytes).concat());
    file.extend(8u32.to_le_bytes());
    file.extend(0u64.to_le_bytes());
    file.resize(file.len().next_multiple_of(32), 0);
    file.extend([7; 68]);
    file
}

fn parse(file: Vec<u8>) -> Result<Gguf, String> {
    Gguf::parse(&Bytes::from(file))
}

#[test]
fn entries_and_tensors_are_found() {
    let gguf = parse(file()).unwrap();
    let texts: Vec<&str> = gguf.get("a.key").unwrap().array().unwrap().iter().filter_map(Value::text).collect();
    assert_eq!(texts, ["x", "yz"]);
    let tensor = gguf.tensor("w").unwrap();
    assert_eq!((&tensor.shape[..], &tensor.bytes[..]), (&[2, 32][..], &[7; 68][..]));
}

#[test]
fn what_lies_about_its_size_is_refused() {
    let whole = file();
    for len in 0..whole.len() {
        assert!(parse(whole[..len].to_vec()).is_err(), "cut at {len}");
    }
    let with = |at: usize, bytes: &[u8]| {
        let mut file = whole.clone();
        file[at..at + bytes.len()].copy_from_slice(bytes);
        parse(file).unwrap_err()
    };
    assert!(with(0, b"GGML").contains("does not begin"));
    assert!(with(4, &[9]).contains("version of GGUF is 9"));
    assert!(with(8, &u64::MAX.to_le_bytes()).contains("tensors"));
    assert!(with(16, &u64::MAX.to_le_bytes()).contains("entries"));
    // The key's length, the array's, the tensor's first axis.
    assert!(with(24, &u64::MAX.to_le_bytes()).contains("it ends at"));
    assert!(with(45, &u64::MAX.to_le_bytes()).contains("an array of"));
    let axis = whole.windows(8).position(|bytes| bytes == 32u64.to_le_bytes()).unwrap();
    assert!(with(axis, &(u64::MAX - 31).to_le_bytes()).contains("tensor `w`"));
    assert!(with(axis, &33u64.to_le_bytes()).contains("whole blocks"));
    assert!(with(axis, &64u64.to_le_bytes()).contains("the file ends at"));
    assert!(with(axis + 16, &99u32.to_le_bytes()).contains("type 99"));
}

proptest! {
    #[test]
    fn no_file_makes_it_panic(changes in prop::collection::vec((0usize..240, any::<u8>()), 1..6)) {
        let mut file = file();
        for (at, byte) in changes {
            let len = file.len();
            file[at % len] = byte;
        }
        let _ = parse(file);
    }
}
