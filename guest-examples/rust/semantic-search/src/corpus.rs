//! The built-in corpus: forty texts, and their embeddings where a model's were computed beforehand.
//!
//! A fresh instance answers every request, so embedding the corpus on the fly would cost forty inferences each time.
//! `embed_corpus.py` writes the embeddings of one model; with any other model they are computed on the fly.

const TEXTS: &str = include_str!("../corpus/texts.txt");

/// Model and file of each set of embeddings: the FNV-1a hash of the texts they were made from (8 bytes, little-endian),
/// then one FP32 embedding per text.
const EMBEDDINGS: &[(&str, &[u8])] = &[("all-minilm-l6-v2", include_bytes!("../corpus/all-minilm-l6-v2.f32"))];

/// The texts.
pub fn texts() -> Vec<&'static str> {
    TEXTS.lines().collect()
}

/// The texts' embeddings by that model, one after the other, where they were computed beforehand.
pub fn embeddings(model: &str) -> Option<Vec<f32>> {
    let (_, file) = EMBEDDINGS.iter().find(|(name, _)| *name == model)?;
    let (_, values) = file.split_first_chunk::<8>()?;
    Some(values.as_chunks().0.iter().map(|value| f32::from_le_bytes(*value)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fnv1a(bytes: &[u8]) -> u64 {
        bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
    }

    #[test]
    fn the_embeddings_were_made_from_these_very_texts() {
        for (model, file) in EMBEDDINGS {
            let (hash, _) = file.split_first_chunk().unwrap();
            assert_eq!(u64::from_le_bytes(*hash), fnv1a(TEXTS.as_bytes()), "run embed_corpus.py for {model}");
            let values = embeddings(model).unwrap();
            assert!(!values.is_empty() && values.len().is_multiple_of(texts().len()));
            assert!(values.iter().all(|value| value.is_finite()));
        }
        assert!(embeddings("another").is_none());
    }

    #[test]
    fn a_text_finds_itself_first() {
        let values = embeddings("all-minilm-l6-v2").unwrap();
        let hidden = values.len() / texts().len();
        for (index, query) in values.chunks_exact(hidden).enumerate() {
            assert_eq!(crate::rank(query, &values, 1)[0].index, index);
        }
    }
}
