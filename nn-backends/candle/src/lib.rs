//! Sentence-embedding models on candle, from unmodified Hugging Face folders
