//! Text to token tensors: the tokenizer in front of text models, whichever backend runs them
