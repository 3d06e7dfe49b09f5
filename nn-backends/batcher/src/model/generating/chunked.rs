//! The answers to one request in the chunks that OpenAI's API tells them in, whoever they are told to.

use std::collections::VecDeque;

use headland_completions::Chunks;
use headland_nn_core::NnError;
use serde_json::Value;

use super::Generation;

/// Answers while they come, chunk by chunk. Dropping it ends them.
pub struct Chunked {
    generation: Generation,
    chunks: Chunks,
    /// What goes before the answers, until the first of them begins: who is refused or lost before that is told nothing else.
    begins: VecDeque<Value>,
    ready: VecDeque<Value>,
    ended: bool,
}

impl Chunked {
    /// The answers of `generation` as `chunks` writes them, each after its echo.
    pub fn new(generation: Generation, chunks: Chunks, echoes: &[Option<String>]) -> Self {
        let begin = |(index, echo): (usize, &Option<String>)| chunks.begin(index, echo.as_deref());
        let begins = echoes.iter().enumerate().filter_map(begin).collect();
        Chunked { generation, chunks, begins, ready: VecDeque::new(), ended: false }
    }

    /// The next chunk; `None` after the last.
    ///
    /// # Errors
    /// What ended the answers before their time.
    pub async fn next(&mut self) -> Result<Option<Value>, NnError> {
        loop {
            if let Some(chunk) = self.ready.pop_front() {
                return Ok(Some(chunk));
            }
            if self.ended {
                return Ok(None);
            }
            let Some((index, delta)) = self.generation.next().await else {
                self.ended = true;
                self.ready.extend(self.chunks.end());
                continue;
            };
            if let Some(Err(error)) = &delta.end {
                self.ended = true;
                return Err(error.clone());
            }
            self.ready.append(&mut self.begins);
            let tokens = self.generation.generator().tokens();
            self.ready.extend(self.chunks.delta(index, &delta, &|id| tokens.token(id)));
        }
    }

    /// What the answers took that have ended, as OpenAI's API writes it.
    pub(super) fn usage(&self) -> Value {
        self.chunks.usage()
    }
}
