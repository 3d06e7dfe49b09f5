//! Cosine similarity, and the best of it.

/// A document that was found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hit {
    /// Its place in the list it came from.
    pub index: usize,
    /// Cosine similarity to the query, -1 to 1.
    pub score: f32,
}

/// The `top_k` documents nearest to the query, best first; equals keep their order. `documents` holds one embedding
/// of the query's length after the other. Embeddings need not be normalised.
pub fn rank(query: &[f32], documents: &[f32], top_k: usize) -> Vec<Hit> {
    if query.is_empty() {
        return Vec::new();
    }
    let query_norm = dot(query, query).sqrt();
    let mut hits: Vec<Hit> = documents
        .chunks_exact(query.len())
        .enumerate()
        .map(|(index, document)| {
            let norms = query_norm * dot(document, document).sqrt();
            // A zero vector points nowhere: it is like nothing.
            let score = if norms > 0.0 { dot(query, document) / norms } else { 0.0 };
            Hit { index, score }
        })
        .collect();
    hits.sort_by(|a, b| b.score.total_cmp(&a.score));
    hits.truncate(top_k);
    hits
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_comes_first_whatever_the_lengths() {
        let hits = rank(&[2.0, 0.0], &[0.0, 5.0, 3.0, 3.0, 0.1, 0.0, -1.0, 0.0], 3);
        assert_eq!(hits.iter().map(|hit| hit.index).collect::<Vec<_>>(), [2, 1, 0]);
        assert!((hits[0].score - 1.0).abs() < 1e-6);
        assert!((hits[1].score - 0.5f32.sqrt()).abs() < 1e-6);
    }

    #[test]
    fn a_zero_embedding_scores_zero_and_nothing_is_made_of_nothing() {
        assert_eq!(rank(&[1.0, 0.0], &[0.0, 0.0], 9), [Hit { index: 0, score: 0.0 }]);
        assert!(rank(&[], &[], 3).is_empty());
    }
}
