//! What semantic search is without its host: the request's form, the model's input, the ranking, a corpus.
//!
//! Stands beside `main.rs`, which speaks HTTP and `wasi:nn`; split so that its tests run natively.

pub mod corpus;
mod rank;
mod request;

pub use rank::{Hit, rank};
pub use request::{BadSearch, MAX_DOCUMENTS, MAX_TEXT_BYTES, Search};

/// Texts as the one U8 tensor `wasi:nn` has room for: shape `[texts, bytes of the longest]`, right-padded with NUL.
pub fn pack(texts: &[&str]) -> ([u32; 2], Vec<u8>) {
    let width = texts.iter().map(|text| text.len()).max().unwrap_or(0).max(1);
    let mut bytes = vec![0; texts.len() * width];
    for (row, text) in bytes.chunks_exact_mut(width).zip(texts) {
        row[..text.len()].copy_from_slice(text.as_bytes());
    }
    // The request's limits keep both far below u32.
    ([texts.len() as u32, width as u32], bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_packed_side_by_side_and_padded_with_nul() {
        assert_eq!(pack(&["ab", "", "cdé"]), ([3, 4], b"ab\0\0\0\0\0\0cd\xc3\xa9".to_vec()));
        assert_eq!(pack(&[""]), ([1, 1], vec![0]));
    }
}
